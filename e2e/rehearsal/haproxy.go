package rehearsal

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"logux-proxy/e2e/fleet"
)

// A HAProxy is Debian's, with places for nodes. It sends a new connection to the ready node with the fewest, and asks for readiness twice a second.
type HAProxy struct {
	Addr string // host:port for clients

	t      testing.TB
	socket string
	places []*fleet.Node
}

const maxNodes = 9

// StartHAProxy starts one, which ends with the test.
func StartHAProxy(t testing.TB) *HAProxy {
	t.Helper()
	dir := t.TempDir()
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	h := &HAProxy{Addr: free.Addr().String(), t: t, socket: filepath.Join(dir, "socket"), places: make([]*fleet.Node, maxNodes)}
	_ = free.Close()
	conf := filepath.Join(dir, "haproxy.cfg")
	text := fmt.Sprintf(`
global
  maxconn 9000
  stats socket %s mode 600 level admin
defaults
  mode http
  option redispatch
  timeout connect 5s
  timeout client 90s
  timeout server 90s
  timeout tunnel 1h
  timeout http-request 10s
frontend clients
  bind %s
  default_backend nodes
backend nodes
  balance leastconn
  option forwardfor
  option httpchk GET /readyz
  http-check expect status 200
  server-template node- %d 127.0.0.1:1 check port 1 inter 500ms fall 1 rise 1 disabled
`, h.socket, h.Addr, maxNodes)
	if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	out := new(bytes.Buffer)
	cmd := exec.Command("haproxy", "-f", conf, "-db")
	cmd.Stdout, cmd.Stderr = out, out
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatalf("%v (apt-get install haproxy)", err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("haproxy said:\n%s", out)
		}
	})
	fleet.Await(t, "haproxy answers", func() bool {
		conn, err := net.Dial("unix", h.socket)
		if err == nil {
			_ = conn.Close()
		}
		return err == nil
	})
	return h
}

// do sends a command to the running process.
func (h *HAProxy) do(command string) {
	h.t.Helper()
	conn, err := net.Dial("unix", h.socket)
	if err != nil {
		h.t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	if _, err := io.WriteString(conn, command+"\n"); err != nil {
		h.t.Fatal(err)
	}
	answer, err := io.ReadAll(conn)
	if text := strings.TrimSpace(string(answer)); err != nil || text != "" && !strings.Contains(text, "changed") && !strings.Contains(text, "no need to change") {
		h.t.Fatalf("haproxy was told %q and says %q, %v", command, text, err)
	}
}

// Add gives a node a place. Connections come when it is ready.
func (h *HAProxy) Add(n *fleet.Node) {
	h.t.Helper()
	for i, taken := range h.places {
		if taken != nil {
			continue
		}
		h.places[i] = n
		host, port, _ := strings.Cut(n.Addr, ":")
		_, check, _ := strings.Cut(n.Admin, ":")
		place := fmt.Sprintf("set server nodes/node-%d ", i+1)
		h.do(place + "addr " + host + " port " + port)
		h.do(place + "check-port " + check)
		h.do(place + "state ready")
		return
	}
	h.t.Fatal("no place for another node")
}

// Remove takes a node's place away.
func (h *HAProxy) Remove(n *fleet.Node) {
	h.t.Helper()
	for i, taken := range h.places {
		if taken == n {
			h.places[i] = nil
			h.do(fmt.Sprintf("set server nodes/node-%d state maint", i+1))
		}
	}
}
