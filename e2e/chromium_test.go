package e2e

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"logux-proxy/backend/backendtest"
)

// runNode runs a script of js and returns the JSON lines that it printed.
func runNode[T any](t *testing.T, script string, args ...string) []T {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "node", append([]string{filepath.Join("js", script)}, args...)...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s: %v\n%s%s", script, err, out, stderr.String())
	}
	var lines []T
	for scan := bufio.NewScanner(bytes.NewReader(out)); scan.Scan(); {
		var line T
		if err := json.Unmarshal(scan.Bytes(), &line); err != nil {
			t.Fatalf("%s printed %q: %v", script, scan.Text(), err)
		}
		lines = append(lines, line)
	}
	return lines
}

// A demo is the running program behind make demo.
type demo struct {
	cmd    *exec.Cmd
	log    logBuffer
	exited chan struct{}
}

// startDemo builds and starts the demo on free ports and returns when it says where to click.
func startDemo(t *testing.T, page string, more ...string) *demo {
	t.Helper()
	built := filepath.Join(t.TempDir(), "demo")
	if out, err := exec.Command("go", "build", "-o", built, "./demo").CombinedOutput(); err != nil {
		t.Fatalf("building the demo: %v\n%s", err, out)
	}
	d := &demo{exited: make(chan struct{})}
	addr := func() string { return fmt.Sprintf("127.0.0.1:%d", freePort(t)) }
	d.cmd = exec.Command(built, append([]string{"-root", "..", "-binary", *program, "-page", page, "-proxy", addr(), "-admin", addr()}, more...)...)
	d.cmd.Stdout, d.cmd.Stderr = &d.log, &d.log
	if err := d.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(d.exited)
		_ = d.cmd.Wait()
		d.log.changed()
	}()
	t.Cleanup(func() {
		_ = d.cmd.Process.Signal(syscall.SIGTERM)
		<-d.exited
	})
	return d
}

// awaitURL returns the address that the demo prints.
func (d *demo) awaitURL(t *testing.T) string {
	t.Helper()
	d.log.await(t, "the demo says where to click", func() bool { return strings.Contains(d.log.String(), "Open  http://") })
	_, after, _ := strings.Cut(d.log.String(), "Open  ")
	url, _, _ := strings.Cut(after, " ")
	return url
}

// Two windows of a real Chromium, on two nodes, count together on the demo page: offline work included, also when the node of one is killed, and when
// Redis is. Ctrl+C ends the demo cleanly.
func TestDemoCountsInTwoWindows(t *testing.T) {
	t.Parallel()
	countTogether(t, startDemo(t, fmt.Sprintf("127.0.0.1:%d", freePort(t))), []step{
		{Step: "together", One: "4", Two: "4"}, {Step: "offline", One: "5", Two: "5"}, {Step: "back", One: "6", Two: "6"},
		{Step: "nodes", One: "node-1", Two: "node-2"}, {Step: "node killed", One: "8", Two: "8"},
		{Step: "Redis killed", One: "10", Two: "10"}, {Step: "all back", One: "12", Two: "12"},
	})
}

// Where there is no Redis the demo says so and is a single node.
func TestDemoWithoutRedis(t *testing.T) {
	t.Parallel()
	d := startDemo(t, fmt.Sprintf("127.0.0.1:%d", freePort(t)), "-redis", "no-such-redis-server")
	countTogether(t, d, []step{
		{Step: "together", One: "4", Two: "4"}, {Step: "offline", One: "5", Two: "5"}, {Step: "back", One: "6", Two: "6"},
	})
	if want := "no Redis"; strings.Count(d.log.String(), want) != 1 {
		t.Errorf("the demo does not say %q once:\n%s", want, d.log.tail(3000))
	}
}

// A step is what both windows showed at some time.
type step struct{ Step, One, Two, Name, Error string }

func countTogether(t *testing.T, d *demo, want []step) {
	t.Helper()
	got := runNode[step](t, "count-together.js", d.awaitURL(t))
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("the windows showed %+v, want %+v\n%s", got, want, d.log.tail(6000))
	}
	if err := d.cmd.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	<-d.exited
	if code := d.cmd.ProcessState.ExitCode(); code != 0 {
		t.Errorf("the demo exited with %d after Ctrl+C, want 0:\n%s", code, d.log.tail(3000))
	}
}

// The demo says so when a port is taken, and which setting chooses another.
func TestDemoNamesATakenPort(t *testing.T) {
	t.Parallel()
	other := httptest.NewServer(http.NotFoundHandler())
	defer other.Close()
	addr := other.Listener.Addr().String()
	d := startDemo(t, addr)
	<-d.exited
	if d.cmd.ProcessState.ExitCode() == 0 {
		t.Error("the demo exited with 0 although its port is taken")
	}
	for _, want := range []string{addr, "taken", "-page"} {
		if !strings.Contains(d.log.String(), want) {
			t.Errorf("the demo's message lacks %q:\n%s", want, d.log.String())
		}
	}
}

// Cookies authenticate, so a page of another site must not open a socket in its visitor's name: 403 before the upgrade, no question to the back-end,
// logged with the origin. The allowed site is let in with the same cookie.
func TestPagesOfOtherSitesAreRefused(t *testing.T) {
	t.Parallel()
	empty := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		_, _ = w.Write([]byte("<!doctype html><link rel=icon href=data:,>"))
	})
	good, evil := httptest.NewServer(empty), httptest.NewServer(empty)
	defer good.Close()
	defer evil.Close()
	b := newBackend(t)
	p := startProxy(t, b.url, settings{"LOGUX_ENV": "production", "LOGUX_ORIGINS": good.URL})
	type line struct {
		Origin   string
		Code     int
		Messages []string
		Said     string
		Error    string
	}
	got := runNode[line](t, "open-socket.js", "ws://"+p.addr+"/", evil.URL, strings.Replace(evil.URL, "127.0.0.1", "evil.localhost", 1), good.URL)
	if len(got) != 3 {
		t.Fatalf("the browser reported %+v", got)
	}
	for _, foreign := range got[:2] {
		if len(foreign.Messages) != 0 || !strings.Contains(foreign.Said, "403") {
			t.Errorf("a page of %s was not refused with 403: %+v", foreign.Origin, foreign)
		}
		p.log.await(t, "the origin in the log", func() bool { return strings.Contains(p.log.String(), foreign.Origin) })
	}
	if home := got[2]; !strings.Contains(fmt.Sprint(home.Messages), "connected") {
		t.Errorf("the allowed page %s was not let in: %+v", home.Origin, home)
	}
	auths := b.seen(func(c *backendtest.Command) bool { return c.Auth })
	if len(auths) != 1 || auths[0].Cookie["session"] != "stolen" {
		t.Errorf("the back-end was asked %d times (%v), want once, with the cookie of the allowed page", len(auths), auths)
	}
}
