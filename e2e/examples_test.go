package e2e

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// The back-ends of docs/backend.md do what the page says: they let in who has the token, show a room's messages to its readers and to those who come
// later, save a command that comes twice once, and say something of their own.
func TestExamplesOfBackends(t *testing.T) {
	t.Parallel()
	for name, command := range map[string]func(t *testing.T, addr string) []string{
		"node": func(*testing.T, string) []string { return []string{"node", "../docs/examples/node/server.mjs"} },
		"go": func(t *testing.T, _ string) []string {
			program := filepath.Join(t.TempDir(), "example")
			if out, err := exec.Command("go", "build", "-o", program, "../docs/examples/go").CombinedOutput(); err != nil {
				t.Fatalf("building the example: %v\n%s", err, out)
			}
			return []string{program}
		},
		"python": func(*testing.T, string) []string { return []string{"python3", "../docs/examples/python/server.py"} },
		"django": func(t *testing.T, _ string) []string {
			return []string{djangosPython(t), "../docs/examples/django/chat.py"}
		},
		"php": func(_ *testing.T, addr string) []string {
			return []string{"php", "-S", addr, "../docs/examples/php/chat.php"}
		},
		"ruby": func(_ *testing.T, addr string) []string {
			return []string{"puma", "-b", "tcp://" + addr, "../docs/examples/ruby/config.ru"}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			addr := fmt.Sprintf("127.0.0.1:%d", freePort(t))
			// One command a request, as the page advises those that handle one after another.
			p := startProxy(t, "http://"+addr+"/logux", settings{"LOGUX_BACKEND_BATCH": "1"})
			startExample(t, command(t, addr), addr, p.addr)
			tryChat(t, p, addr)
		})
	}
}

// djangosPython is the Python that has Django. Debian's packages are for Debian's own, and another one may stand before it in the path.
func djangosPython(t *testing.T) string {
	t.Helper()
	var tried []byte
	for _, python := range []string{"python3", "/usr/bin/python3"} {
		out, err := exec.Command(python, "-c", "import django").CombinedOutput()
		if err == nil {
			return python
		}
		tried = append(tried, out...)
	}
	t.Fatalf("no Python has Django; e2e/install.sh test installs it:\n%s", tried)
	return ""
}

func tryChat(t *testing.T, p *proxy, addr string) {
	stranger := open(t, p.addr, "10:stranger:t", dialOptions{})
	stranger.send(t, connectMessage("10:stranger:t", dialOptions{token: "token-of-bob"}))
	if got := stranger.awaitMessage(t, "error", 1).raw; got != `["error","wrong-credentials"]` {
		t.Errorf("with the token of somebody else a client got %s", got)
	}
	stranger.awaitClosed(t)

	ann := connect(t, p.addr, "10:ann:t", dialOptions{token: "token-of-ann"})
	bob := connect(t, p.addr, "20:bob:t", dialOptions{token: "token-of-bob"})
	ann.subscribe(t, "chat/1")
	bob.subscribe(t, "chat/1")
	id := ann.sync(t, `{"type":"chat/send","room":"chat/1","text":"Hello"}`)
	if got := ann.awaitOutcome(t, id); got != "processed" {
		t.Fatalf("a message ended in %s", got)
	}
	if got := bob.awaitAction(t, `"chat/send"`, `"Hello"`); got.id != id {
		t.Errorf("the reader got the message with the ID %q, want %q", got.id, id)
	}
	for body, want := range map[string]string{
		`{"type":"chat/send","room":"chat/1"}`:             "denied",
		`{"type":"chat/send","room":["chat/1"],"text":1}`:  "denied",
		`{"type":"chat/burn"}`:                             "unknownType",
		`{"type":"logux/subscribe","channel":"elsewhere"}`: "wrongChannel",
	} {
		if got := ann.do(t, body); got != want {
			t.Errorf("%s ended in %s, want %s", body, got, want)
		}
	}

	announce(t, addr, `{"room":"chat/1","text":"Maintenance at noon"}`)
	ann.awaitAction(t, `"Maintenance at noon"`)
	said := bob.awaitAction(t, `"Maintenance at noon"`)

	again := fmt.Sprintf(`{"version":4,"secret":%q,"commands":[{"command":"action","action":{"type":"chat/send","room":"chat/1","text":"Hello"},"meta":{"id":%q,"time":1},"headers":{}}]}`, secret, id)
	res, err := http.Post("http://"+addr+"/logux", "application/json", strings.NewReader(again))
	if err != nil {
		t.Fatal(err)
	}
	_ = res.Body.Close()

	late := connect(t, p.addr, "20:late:t", dialOptions{token: "token-of-bob"})
	late.subscribe(t, "chat/1")
	late.settle(t, p)
	var got []string
	for _, a := range late.having(`"chat/send"`) {
		got = append(got, a.id)
	}
	if want := []string{id, said.id}; fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("who comes later got the messages %q, want %q", got, want)
	}
}

func announce(t *testing.T, addr, body string) {
	t.Helper()
	res, err := http.Post("http://"+addr+"/announce", "application/json", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	_ = res.Body.Close()
	if res.StatusCode != http.StatusNoContent {
		t.Fatalf("the announcement was answered with %s", res.Status)
	}
}

// startExample runs an example and returns when it listens on addr.
func startExample(t *testing.T, command []string, addr, proxy string) {
	t.Helper()
	_, port, err := net.SplitHostPort(addr)
	if err != nil {
		t.Fatal(err)
	}
	var log logBuffer
	cmd := exec.Command(command[0], command[1:]...)
	cmd.Env = append(os.Environ(), "PORT="+port, "PROXY=http://"+proxy+"/", "LOGUX_CONTROL_SECRET="+secret,
		"MESSAGES="+filepath.Join(t.TempDir(), "messages"), "DATABASE="+filepath.Join(t.TempDir(), "database"), "PHP_CLI_SERVER_WORKERS=4")
	cmd.Stdout, cmd.Stderr = &log, &log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) // PHP's server has workers, which outlive it
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("log of the example:\n%s", log.tail(4000))
		}
	})
	awaitPolling(t, "the example listens", func() bool {
		conn, err := net.Dial("tcp", addr)
		if err != nil {
			return false
		}
		return conn.Close() == nil
	})
}
