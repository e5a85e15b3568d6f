package e2e

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"github.com/gobwas/ws"

	"logux-proxy/backend/backendtest"
)

// serviceRestart is the close code that asks clients to come back elsewhere.
const serviceRestart ws.StatusCode = 1012

// SIGTERM: readiness fails, clients are closed with 1012, what is in flight gets its outcome first, and the process exits with 0.
func TestStopWithClientsConnected(t *testing.T) {
	t.Parallel()
	b := newBackend(t)
	p := startProxy(t, b.url, settings{"LOGUX_DRAIN_GRACE": "100ms", "LOGUX_DRAIN_TIME": "5s"})
	release := newGate(t)
	b.Handle("SLOW", backendtest.Script(backendtest.Approved, release.wait, backendtest.Processed))
	var clients []*client
	for i := range 20 {
		clients = append(clients, connect(t, p.addr, fmt.Sprintf("s%d:stop:tab", i), dialOptions{}))
	}
	busy := connect(t, p.addr, "busy:stop:tab", dialOptions{})
	id := busy.sync(t, `{"type":"SLOW"}`)
	b.awaitCommand(t, "the slow action", 1, byType("SLOW"))
	if code, _ := p.get(t, "/readyz"); code != http.StatusOK {
		t.Errorf("/readyz = %d before the stop, want 200", code)
	}
	p.terminate()
	awaitPolling(t, "/readyz fails", func() bool {
		res, err := http.Get("http://" + p.admin + "/readyz")
		if err != nil {
			return true
		}
		_ = res.Body.Close()
		return res.StatusCode == http.StatusServiceUnavailable
	})
	for i, c := range clients {
		if code := c.awaitClosed(t); code != serviceRestart {
			t.Errorf("%s was closed with %d, want 1012", c.nodeID, code)
		}
		if i == 0 { // the drain has begun; at its end the busy client goes in any case
			release.open()
		}
	}
	if got := busy.awaitOutcome(t, id); got != "processed" {
		t.Errorf("the action in flight ended in %s, want processed", got)
	}
	if code := busy.awaitClosed(t); code != serviceRestart {
		t.Errorf("the busy client was closed with %d, want 1012", code)
	}
	p.stop(t) // checks the exit code
}

// "A second signal exits at once."
func TestSecondSignalStopsAtOnce(t *testing.T) {
	t.Parallel()
	b := newBackend(t)
	p := launch(t, b.url, settings{"LOGUX_DRAIN_GRACE": "10m", "LOGUX_DRAIN_TIME": "10m"})
	p.log.await(t, "the proxy listens", func() bool { return strings.Contains(p.log.String(), "listening") })
	p.terminate()
	p.log.await(t, "the proxy says that it stops", func() bool { return strings.Contains(p.log.String(), "stopping") })
	// One that comes together with the first is taken for the same; so it is sent until it is heard.
	awaitPolling(t, "the end of the process", func() bool {
		_ = p.cmd.Process.Signal(syscall.SIGTERM)
		select {
		case <-p.exited:
			return true
		default:
			return false
		}
	})
}

// "A wrong setting stops the start with one clear line": it names the setting, and shows no trace and no secret.
func TestWrongSettings(t *testing.T) {
	t.Parallel()
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = taken.Close() })
	_, port, err := net.SplitHostPort(taken.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	broken := writeFile(t, "broken.pem", "-----BEGIN CERTIFICATE-----\nnonsense\n-----END CERTIFICATE-----\n")
	for _, row := range []struct{ name, value string }{
		{"LOGUX_PORT", "banana"},
		{"LOGUX_PORT", "70000"},
		{"LOGUX_PORT", "-1"},
		{"LOGUX_PORT", port},
		{"LOGUX_HOST", "256.256.256.256"},
		{"LOGUX_ADMIN_ADDR", "nonsense"},
		{"LOGUX_ADMIN_ADDR", taken.Addr().String()},
		{"LOGUX_CONTROL_ADDR", "nonsense"},
		{"LOGUX_ENV", "staging"},
		{"LOGUX_LOGGER", "xml"},
		{"LOGUX_LOG_LEVEL", "loud"},
		{"LOGUX_ID", "with space"},
		{"LOGUX_BACKEND", "ftp://127.0.0.1/"},
		{"LOGUX_BACKEND", "127.0.0.1:3000"},
		{"LOGUX_BACKEND", "http://"},
		{"LOGUX_BACKEND_VERSION", "5"},
		{"LOGUX_BACKEND_VERSION", "one"},
		{"LOGUX_BACKEND_SUBPROTOCOL", "cooked"},
		{"LOGUX_BACKEND_CONCURRENCY", "0"},
		{"LOGUX_BACKEND_CONCURRENCY", "-5"},
		{"LOGUX_BACKEND_BATCH", "0"},
		{"LOGUX_BACKEND_HOLD", "soon"},
		{"LOGUX_BACKEND_HOLD", "-1s"},
		{"LOGUX_BACKEND_TIMEOUT", "60"},
		{"LOGUX_BACKEND_RETRY", "sometimes"},
		{"LOGUX_BACKEND_CA", "/does/not/exist"},
		{"LOGUX_BACKEND_CA", broken},
		{"LOGUX_CONTROL_MASK", "300.0.0.0/8"},
		{"LOGUX_CONTROL_MASK", "127.0.0.1/99"},
		{"LOGUX_CONTROL_SECRET", ""},
		{"LOGUX_CONTROL_SECRET_FILE", "/does/not/exist"},
		{"LOGUX_TRUSTED_PROXIES", "everybody"},
		{"LOGUX_ORIGINS", "not an origin"},
		{"LOGUX_SUPPORTS", "banana"},
		{"LOGUX_MIN_SUBPROTOCOL", "banana"},
		{"LOGUX_PING", "never"},
		{"LOGUX_TIMEOUT", "-70s"},
		{"LOGUX_MAX_MESSAGE", "huge"},
		{"LOGUX_MAX_MESSAGE", "-1"},
		{"LOGUX_MAX_CONNECTIONS", "many"},
		{"LOGUX_DRAIN_TIME", "later"},
		{"LOGUX_KEY", "/does/not/exist"},
		{"LOGUX_CERT", broken},
	} {
		t.Run(row.name+"="+row.value, func(t *testing.T) {
			t.Parallel()
			s := settings{row.name: row.value}
			if row.name == "LOGUX_CONTROL_SECRET_FILE" {
				s["LOGUX_CONTROL_SECRET"] = ""
			}
			p := launch(t, "http://127.0.0.1:1/", s)
			p.awaitExit(t)
			log := strings.TrimSpace(p.log.String())
			flag := "--" + strings.ReplaceAll(strings.ToLower(strings.TrimPrefix(row.name, "LOGUX_")), "_", "-")
			switch {
			case p.code == 0:
				t.Errorf("the proxy exited with 0:\n%s", log)
			case !strings.Contains(log, row.name) && !strings.Contains(log, flag):
				t.Errorf("the message does not name %s:\n%s", row.name, log)
			case strings.Contains(log, "goroutine ") || strings.Contains(log, ".go:"):
				t.Errorf("the message shows a trace:\n%s", log)
			case strings.Count(log, "\n") > 0:
				t.Errorf("the message has more than one line:\n%s", log)
			case strings.Contains(log, secret):
				t.Errorf("the message shows the secret:\n%s", log)
			}
		})
	}
}

// "an unknown LOGUX_ variable is named in a warning", and does not stop the start.
func TestUnknownSettingIsNamed(t *testing.T) {
	t.Parallel()
	b := newBackend(t)
	p := startProxy(t, b.url, settings{"LOGUX_BACKEDN": "http://127.0.0.1:1/"})
	p.log.await(t, "a warning about LOGUX_BACKEDN", func() bool { return strings.Contains(p.log.String(), "LOGUX_BACKEDN") })
}

// Flags, environment and .env mean the same; flags win over the environment, that over the file.
func TestWhereSettingsComeFrom(t *testing.T) {
	t.Parallel()
	b := newBackend(t)
	dir := t.TempDir()
	port, other := freePort(t), freePort(t)
	env := fmt.Sprintf("LOGUX_PORT=%d\nLOGUX_ID=from-file\nLOGUX_BACKEND=%s\n", other, b.url)
	if err := os.WriteFile(dir+"/.env", []byte(env), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(*program, "--port", fmt.Sprint(port), "--admin-addr", fmt.Sprintf("127.0.0.1:%d", freePort(t)))
	cmd.Dir = dir
	cmd.Env = []string{"LOGUX_ID=from-environment", "LOGUX_CONTROL_SECRET=" + secret, fmt.Sprintf("LOGUX_PORT=%d", other)}
	var log logBuffer
	cmd.Stdout, cmd.Stderr = &log, &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		if err := cmd.Wait(); err != nil {
			t.Errorf("the proxy ended with %v", err)
		}
	})
	addr := fmt.Sprintf("127.0.0.1:%d", port)
	awaitPolling(t, "the proxy answers on the flag's port", func() bool {
		res, err := http.Get("http://" + addr + "/health")
		if err != nil {
			return false
		}
		return res.Body.Close() == nil && res.StatusCode == http.StatusOK
	})
	c := connect(t, addr, "38:env:tab", dialOptions{})
	if got := c.of("connected")[0].raw; !strings.Contains(got, `"server:from-environment"`) {
		t.Errorf("connected is %s, want the ID of the environment", got)
	}
	if len(b.seen(authOf("38"))) != 1 {
		t.Error("the back-end of the file was not asked")
	}
}
