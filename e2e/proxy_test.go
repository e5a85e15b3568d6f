package e2e

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// secret is what every proxy of these tests shares with its back-end.
const secret = "s3cr3t-of-the-tests"

// settings are environment variables; "" takes a variable away.
type settings map[string]string

// A proxy is one running process of the binary under test.
type proxy struct {
	addr  string // host:port of WebSocket and control API
	admin string // host:port of health and metrics

	cmd      *exec.Cmd
	log      logBuffer
	termOnce sync.Once
	exited   chan struct{} // closed when the process is gone and its output read
	code     int           // valid then
}

// startProxy starts a proxy in front of backendURL and returns when it answers. It is stopped at the end of the test, which fails unless it then exits with 0.
func startProxy(t testing.TB, backendURL string, s settings) *proxy {
	t.Helper()
	p := launch(t, backendURL, s)
	t.Cleanup(func() {
		p.stop(t)
		if t.Failed() {
			t.Logf("log of the proxy:\n%s", p.log.tail(12000))
		}
	})
	awaitPolling(t, "the proxy answers GET /health", func() bool {
		select {
		case <-p.exited:
			t.Fatalf("the proxy ended with code %d:\n%s", p.code, p.log.String())
		default:
		}
		res, err := http.Get("http://" + p.addr + "/health")
		if err != nil {
			return false
		}
		_ = res.Body.Close()
		return res.StatusCode == http.StatusOK
	})
	return p
}

// launch starts the process and does not wait for anything.
func launch(t testing.TB, backendURL string, s settings) *proxy {
	t.Helper()
	p := &proxy{exited: make(chan struct{})}
	port, adminPort := freePort(t), freePort(t)
	p.addr = fmt.Sprintf("127.0.0.1:%d", port)
	p.admin = fmt.Sprintf("127.0.0.1:%d", adminPort)
	env := settings{
		"PATH":                 os.Getenv("PATH"),
		"HOME":                 os.Getenv("HOME"),
		"GORACE":               "halt_on_error=0 exitcode=66",
		"LOGUX_HOST":           "127.0.0.1",
		"LOGUX_PORT":           fmt.Sprint(port),
		"LOGUX_ADMIN_ADDR":     p.admin,
		"LOGUX_BACKEND":        backendURL,
		"LOGUX_CONTROL_SECRET": secret,
		"LOGUX_LOGGER":         "json",
	}
	for k, v := range s {
		env[k] = v
	}
	p.cmd = exec.Command(*program)
	for k, v := range env {
		if v != "" {
			p.cmd.Env = append(p.cmd.Env, k+"="+v)
		}
	}
	p.cmd.Dir = t.TempDir() // no .env of anybody
	p.cmd.Stdout, p.cmd.Stderr = &p.log, &p.log
	if err := p.cmd.Start(); err != nil {
		t.Fatalf("starting the proxy: %v", err)
	}
	go func() {
		defer close(p.exited)
		_ = p.cmd.Wait()
		p.code = p.cmd.ProcessState.ExitCode()
	}()
	return p
}

// terminate sends SIGTERM, once: a second one would end the process at once.
func (p *proxy) terminate() {
	p.termOnce.Do(func() { _ = p.cmd.Process.Signal(syscall.SIGTERM) })
}

// stop asks the process to end and checks that it ended well. It may be called again.
func (p *proxy) stop(t testing.TB) {
	t.Helper()
	p.terminate()
	p.awaitExit(t)
	if p.code != 0 {
		t.Errorf("the proxy exited with %d after SIGTERM, want 0:\n%s", p.code, p.log.tail(6000))
	}
	if s := p.log.String(); strings.Contains(s, "DATA RACE") || strings.Contains(s, "panic:") {
		t.Errorf("the proxy's log shows a race or a panic:\n%s", s)
	}
}

func (p *proxy) awaitExit(t testing.TB) {
	t.Helper()
	select {
	case <-p.exited:
	case <-time.After(patience):
		_ = p.cmd.Process.Kill()
		t.Fatalf("the proxy did not end within %v:\n%s", patience, p.log.tail(6000))
	}
}

// get returns the body of a page on the admin listener.
func (p *proxy) get(t testing.TB, path string) (int, string) {
	t.Helper()
	res, err := http.Get("http://" + p.admin + path)
	if err != nil {
		t.Fatalf("GET %s: %v", path, err)
	}
	defer func() { _ = res.Body.Close() }()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatalf("GET %s: %v", path, err)
	}
	return res.StatusCode, string(body)
}

// metric is the value of a metric without labels.
func (p *proxy) metric(t testing.TB, name string) float64 {
	t.Helper()
	_, page := p.get(t, "/metrics")
	for line := range strings.Lines(page) {
		var value float64
		if _, err := fmt.Sscanf(line, name+" %g", &value); err == nil {
			return value
		}
	}
	t.Fatalf("no metric %s", name)
	return 0
}

// control posts body to the control API and returns status and body of the answer.
func (p *proxy) control(t testing.TB, body string) (int, string) {
	t.Helper()
	return control(t, p.addr, body)
}

func control(t testing.TB, addr, body string) (int, string) {
	t.Helper()
	res, err := http.Post("http://"+addr+"/", "application/json", strings.NewReader(body))
	if err != nil {
		t.Fatalf("control API: %v", err)
	}
	defer func() { _ = res.Body.Close() }()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatalf("control API: %v", err)
	}
	return res.StatusCode, string(text)
}

// send has the control API send one action and fails unless it was accepted.
func (p *proxy) send(t testing.TB, action, meta string) {
	t.Helper()
	post(t, p.addr, action, meta)
}

// post is send through the control API at addr.
func post(t testing.TB, addr, action, meta string) {
	t.Helper()
	status, body := control(t, addr, controlBody(action, meta))
	if status != http.StatusOK || body != "" {
		t.Fatalf("control API answered %d %q to %s, want 200 and no body", status, body, action)
	}
}

// controlBody is a control request with one action.
func controlBody(action, meta string) string {
	return fmt.Sprintf(`{"version":4,"secret":%q,"commands":[{"command":"action","action":%s,"meta":%s}]}`, secret, action, meta)
}

// A logBuffer collects what a process writes.
type logBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
	news
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.changed()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

func (l *logBuffer) tail(n int) string {
	s := l.String()
	if len(s) > n {
		s = "…" + s[len(s)-n:]
	}
	return s
}

// ports holds the ports that freePort handed out.
var ports sync.Map

// freePort finds a port below those that the kernel hands out to outgoing connections, so that none of these takes it before the proxy does, and hands
// out none twice, since a line comes up again on its own.
func freePort(t testing.TB) int {
	t.Helper()
	// A process that is being started holds what was open at its fork, this listener too, until it runs its program.
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	for range 2000 {
		port := 31400 + rand.IntN(1300) // those below are the fleets', whose tests run beside
		if _, used := ports.LoadOrStore(port, true); used {
			continue
		}
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err != nil {
			continue
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		return port
	}
	t.Fatal("no free port found")
	return 0
}

// writeFile puts text into a new file of the test and returns its path.
func writeFile(t testing.TB, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}
