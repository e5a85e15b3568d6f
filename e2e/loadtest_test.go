package e2e

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"logux-proxy/backend/backendtest"
	"logux-proxy/wire"
)

// What logux-proxy bench --json prints, as far as tests read it.
type benchReport struct {
	Protocol    int
	Interrupted bool
	Clients     struct{ Asked, Connected, Left, LostConnections, Reconnects int }
	Actions     struct{ Sent, Processed, Undone, WithoutOutcome, NotSent int }
	Deliveries  struct {
		Received, Doubled int
		Lost              *int
	}
	LatencyMs  map[string]struct{ Count, P50, P99, Max float64 }
	ErrorCount int
	Errors     map[string]int
	Failed     []string
}

// A loadTest is one logux-proxy bench --json that runs.
type loadTest struct {
	cmd      *exec.Cmd
	out, err bytes.Buffer
}

func startLoadTest(t testing.TB, args ...string) *loadTest {
	t.Helper()
	l := &loadTest{cmd: exec.CommandContext(t.Context(), *program, append([]string{"bench", "--json"}, args...)...)}
	l.cmd.Dir, l.cmd.Env = t.TempDir(), []string{"GORACE=exitcode=66"}
	l.cmd.Stdout, l.cmd.Stderr = &l.out, &l.err
	if err := l.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return l
}

// end waits for the end of the load test, which has to have that exit code.
func (l *loadTest) end(t testing.TB, code int) (r benchReport) {
	t.Helper()
	var exit *exec.ExitError
	if err := l.cmd.Wait(); err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	if got := l.cmd.ProcessState.ExitCode(); got != code {
		t.Fatalf("bench exited with %d, want %d\n%s%s", got, code, &l.out, &l.err)
	}
	if err := json.Unmarshal(l.out.Bytes(), &r); err != nil {
		t.Fatalf("bench printed no JSON: %v\n%s%s", err, &l.out, &l.err)
	}
	return r
}

// Every figure is what the back-end saw.
func TestBenchTellsTheTruth(t *testing.T) {
	t.Parallel()
	b := newBackend(t)
	p := startProxy(t, b.url, nil)
	for protocol := wire.MinProtocol; protocol <= wire.MaxProtocol; protocol++ {
		auths, joins, incs := len(b.seen(isAuth)), len(b.seen(byType("logux/subscribe"))), len(b.seen(byType("INC")))
		r := startLoadTest(t, "ws://"+p.addr, "--protocol", fmt.Sprint(protocol), "--clients", "40", "--rate", "400", "--user", "u%d", "--token", "t%d",
			"--channel", "counter/%d", "--channels", "4", "--actions", "100", "--duration", "1s", "--action", `{"type":"INC","counter":"%c"}`, "--fan-out").end(t, 0)
		auths, joins, incs = len(b.seen(isAuth))-auths, len(b.seen(byType("logux/subscribe")))-joins, len(b.seen(byType("INC")))-incs
		if r.Protocol != protocol || r.Clients.Connected != 40 || auths != 40 || joins != 40 || r.Clients.Left != 40 {
			t.Errorf("protocol %d: %+v, and the back-end was asked about %d clients and %d subscriptions", protocol, r, auths, joins)
		}
		if a := r.Actions; a.Sent != 100 || incs != 100 || a.Processed != 100 || a.Undone+a.WithoutOutcome+a.NotSent != 0 {
			t.Errorf("protocol %d: %+v, and the back-end got %d", protocol, a, incs)
		}
		// Ten clients in each channel, and the author is left out.
		if d := r.Deliveries; d.Received != 900 || d.Doubled != 0 || d.Lost == nil || *d.Lost != 0 || r.ErrorCount != 0 {
			t.Errorf("protocol %d: %+v", protocol, r)
		}
		for name, count := range map[string]float64{"connect": 40, "subscribe": 40, "outcome": 100, "delivery": 900} {
			if l := r.LatencyMs[name]; l.Count != count || l.P50 <= 0 || l.P50 > l.P99 || l.P99 > l.Max {
				t.Errorf("protocol %d: %s is %+v", protocol, name, l)
			}
		}
	}
	for _, user := range []string{"u0", "u39"} {
		if seen := b.seen(authOf(user)); len(seen) != 3 || seen[0].Token != "t"+user[1:] {
			t.Errorf("%s: %+v", user, seen)
		}
	}
	if n := b.counter("counter/0") + b.counter("counter/1") + b.counter("counter/2") + b.counter("counter/3"); n != 300 {
		t.Errorf("the counters hold %d", n)
	}
}

// A server with a certificate of a private authority is loaded with that authority given, and not without.
func TestBenchOverTLS(t *testing.T) {
	t.Parallel()
	b, ca := newBackend(t), newAuthority(t)
	cert, key := ca.files(t, ca.issue(t, "proxy"))
	p := launch(t, b.url, settings{"LOGUX_CERT": cert, "LOGUX_KEY": key})
	t.Cleanup(func() { p.stop(t) })
	p.log.await(t, "the proxy listens", func() bool { return strings.Contains(p.log.String(), "listening") })
	args := []string{"wss://" + strings.Replace(p.addr, "127.0.0.1", "localhost", 1), "--clients", "40", "--rate", "400", "--channel", "counter/%d", "--channels", "4",
		"--actions", "100", "--duration", "1s", "--action", `{"type":"INC","counter":"%c"}`, "--fan-out"}
	r := startLoadTest(t, append(args, "--ca", writeFile(t, "ca.pem", ca.pem))...).end(t, 0)
	if r.Clients.Connected != 40 || r.Actions.Processed != 100 || r.Deliveries.Received != 900 || r.ErrorCount != 0 {
		t.Errorf("%+v", r)
	}
	refused := startLoadTest(t, args...)
	if err := refused.cmd.Wait(); err == nil || !strings.Contains(refused.err.String(), "give its authority with --ca, or --insecure") {
		t.Errorf("without the authority: %v, %s", err, &refused.err)
	}
	if n := len(b.seen(isAuth)); n != 40 {
		t.Errorf("the back-end was asked about %d clients", n)
	}
}

func isAuth(c *backendtest.Command) bool { return c.Auth }

// What goes wrong is counted as what it is, and makes the exit code 1.
func TestBenchCountsWhatGoesWrong(t *testing.T) {
	t.Parallel()
	b := newBackend(t)
	echo := func(times int) backendtest.Handler {
		return func(x *backendtest.Exchange) {
			x.Approved()
			for range times {
				body := fmt.Sprintf(`{"type":"echo","of":%q}`, field(x.Action, "mark"))
				x.Send(json.RawMessage(body), backendtest.Meta{Targets: backendtest.Targets{Channels: []string{"counter/0"}}})
			}
			x.Processed()
		}
	}
	b.Handle("SILENT", backendtest.Script(backendtest.Approved, backendtest.Processed))
	b.Handle("ECHO", echo(1))
	b.Handle("TWICE", echo(2))
	b.Handle("SLOW", func(x *backendtest.Exchange) {
		x.Approved()
		<-time.After(5 * time.Millisecond) // longer than the bound below
		x.Processed()
	})
	p := startProxy(t, b.url, nil)
	for action, c := range map[string]struct {
		code   int
		fanOut bool
		errors map[string]int
		figure func(*benchReport) int
		want   int
	}{
		"SILENT": {1, true, map[string]int{"not delivered": 80}, func(r *benchReport) int { return *r.Deliveries.Lost }, 80},
		"FORBID": {1, true, map[string]int{"undone: denied": 20}, func(r *benchReport) int { return r.Actions.Undone }, 20},
		"ECHO":   {0, true, map[string]int{}, func(r *benchReport) int { return r.Deliveries.Received }, 100},
		"TWICE":  {1, false, map[string]int{"delivered twice": 80}, func(r *benchReport) int { return r.Deliveries.Doubled }, 80},
	} {
		args := []string{
			"ws://" + p.addr, "--clients", "5", "--channel", "counter/0", "--actions", "20", "--duration", "1s",
			"--action", `{"type":"` + action + `","mark":"%m"}`,
		}
		if c.fanOut {
			args = append(args, "--fan-out")
		}
		r := startLoadTest(t, args...).end(t, c.code)
		if n := r.Errors["undone: error"]; n > 0 && action == "FORBID" { // those that waited behind one that was denied
			r.Errors["undone: denied"] += n
			delete(r.Errors, "undone: error")
		}
		if got, want := fmt.Sprint(r.Errors), fmt.Sprint(c.errors); got != want || c.figure(&r) != c.want || r.Actions.Sent != 20 {
			t.Errorf("%s: %s, want %s: %+v", action, got, want, r)
		}
		if (len(r.Failed) > 0) != (c.code == 1) {
			t.Errorf("%s: %v", action, r.Failed)
		}
	}
	// A bound of time that does not hold.
	r := startLoadTest(t, "ws://"+p.addr, "--clients", "2", "--actions", "20", "--duration", "1s", "--action", `{"type":"SLOW"}`, "--max-p99", "1ms").end(t, 1)
	if len(r.Failed) != 1 || !strings.Contains(r.Failed[0], "--max-p99") || r.Actions.Processed != 20 {
		t.Errorf("slow: %+v", r)
	}
}

// A proxy that stops costs errors and the exit code 1, and the clients come back to the next one. Being told to stop, bench prints what it
// knows.
func TestBenchOfAProxyThatStops(t *testing.T) {
	t.Parallel()
	b := newBackend(t)
	p := startProxy(t, b.url, nil)
	l := startLoadTest(t, "ws://"+p.addr, "--clients", "20", "--channel", "counter/0", "--actions", "50", "--duration", "10m", "--action", `{"type":"INC","counter":"%c"}`)
	b.awaitCommand(t, "the 20th action", 20, byType("INC"))
	p.stop(t)
	_, port, _ := strings.Cut(p.addr, ":")
	next := launch(t, b.url, settings{"LOGUX_PORT": port})
	t.Cleanup(func() { next.stop(t) })
	before := len(b.seen(byType("INC")))
	b.awaitCommand(t, "actions after the clients came back", before+100, byType("INC"))
	awaitPolling(t, "all clients came back", func() bool { return next.metric(t, "logux_connections") == 20 })
	if err := l.cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	r := l.end(t, 1)
	if !r.Interrupted || r.Clients.Connected != 20 || r.Clients.LostConnections != 20 || r.Clients.Reconnects != 20 || r.Errors["connection lost: the server closed it with 1012: the server restarts"] != 20 {
		t.Errorf("%+v", r)
	}
	if !slices.Contains(r.Failed, "it was interrupted") || len(r.Failed) != 2 {
		t.Errorf("%v", r.Failed)
	}
}

// The server of the Logux project, which speaks protocol 4 at most, is loaded like the proxy.
func TestBenchOfLoguxServer(t *testing.T) {
	t.Parallel()
	app := newBackend(t)
	addr := startLoguxServer(t, app.url)
	r := startLoadTest(t, "ws://"+addr, "--protocol", "4", "--clients", "20", "--token", "t", "--channel", "counter/%d", "--channels", "2",
		"--actions", "50", "--duration", "1s", "--action", `{"type":"INC","counter":"%c"}`, "--fan-out").end(t, 0)
	if r.Protocol != 4 || r.Clients.Left != 20 || r.Actions.Processed != 50 || r.Deliveries.Received != 450 || len(app.seen(byType("INC"))) != 50 {
		t.Errorf("%+v", r)
	}
}

// startLoguxServer starts @logux/server in front of a back-end and returns its host:port.
func startLoguxServer(t testing.TB, backendURL string) string {
	t.Helper()
	addr := fmt.Sprintf("127.0.0.1:%d", freePort(t))
	_, port, _ := strings.Cut(addr, ":")
	cmd := exec.CommandContext(t.Context(), "node", "js/server.js", port, backendURL, secret)
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	var errs logBuffer
	cmd.Stderr = &errs
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = stdin.Close()
		_ = cmd.Wait() // its output was read
	})
	if line, err := bufio.NewReader(stdout).ReadString('\n'); line != "listening\n" {
		t.Fatalf("@logux/server said %q, %v\n%s", line, err, &errs)
	}
	return addr
}
