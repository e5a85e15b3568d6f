package main

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsutil"
)

// eventually waits until is, for a minute at most.
func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	deadline := time.NewTimer(time.Minute)
	defer deadline.Stop()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !is() {
		select {
		case <-deadline.C:
			t.Fatalf("in vain: %s", what)
		case <-tick.C:
		}
	}
}

// freeAddr is an address on which nobody listens.
func freeAddr(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().String()
}

// startRedis starts a server at addr, and ends it with the test.
func startRedis(t *testing.T, addr string, args ...string) {
	t.Helper()
	_, port, err := net.SplitHostPort(addr)
	if err != nil {
		t.Fatal(err)
	}
	var said bytes.Buffer
	cmd := exec.Command("redis-server", append([]string{"--port", port, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir", t.TempDir()}, args...)...)
	cmd.Stdout, cmd.Stderr = &said, &said
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatalf("starting redis-server, which these tests need (apt-get install redis-server): %v", err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("redis-server said:\n%s", said.String())
		}
	})
	eventually(t, "redis-server answers", func() bool {
		conn, err := net.Dial("tcp", addr)
		if err != nil {
			return false
		}
		defer func() { _ = conn.Close() }()
		answer := make([]byte, 16)
		if _, err := io.WriteString(conn, "PING\r\n"); err != nil {
			return false
		}
		n, err := conn.Read(answer)
		return err == nil && (strings.HasPrefix(string(answer[:n]), "+PONG") || strings.HasPrefix(string(answer[:n]), "-NOAUTH"))
	})
}

// startBackend starts a back-end that lets everybody in but those with the token "wrong", and lets everybody do
// everything. It never answers the first "slow" action.
func startBackend(t *testing.T) string {
	t.Helper()
	var slow atomic.Bool
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var body struct {
			Commands []struct {
				Command, AuthID, Token string
				Action                 struct{ Type string }
				Meta                   struct{ ID string }
			}
		}
		if err := json.NewDecoder(r.Body).Decode(&body); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		var answers []map[string]string
		for _, c := range body.Commands {
			if c.Action.Type == "slow" && !slow.Swap(true) {
				<-r.Context().Done()
				return
			}
			switch {
			case c.Command == "auth" && c.Token == "wrong":
				answers = append(answers, map[string]string{"answer": "denied", "authId": c.AuthID})
			case c.Command == "auth":
				answers = append(answers, map[string]string{"answer": "authenticated", "authId": c.AuthID, "subprotocol": "1.0.0"})
			default:
				answers = append(answers, map[string]string{"answer": "approved", "id": c.Meta.ID}, map[string]string{"answer": "processed", "id": c.Meta.ID})
			}
		}
		_ = json.NewEncoder(w).Encode(answers)
	}))
	t.Cleanup(server.Close)
	return server.URL
}

// startNode starts a node of a cluster; pairs are more settings.
func startNode(t *testing.T, backend, redis string, pairs ...string) running {
	t.Helper()
	env := with(append([]string{
		"LOGUX_BACKEND", backend, "LOGUX_PORT", "0", "LOGUX_ADMIN_ADDR", "127.0.0.1:0", "LOGUX_LOGGER", "json",
		"LOGUX_REDIS", redis, "LOGUX_GOSSIP_ADDR", "127.0.0.1:0",
	}, pairs...)...)
	p := start(t, env)
	t.Cleanup(func() {
		if p.cmd.ProcessState == nil {
			_ = p.cmd.Process.Kill()
			_ = p.cmd.Wait()
		}
	})
	return p
}

// look reads /cluster.json of a node.
func look(t *testing.T, p running) (o overview) {
	t.Helper()
	if err := json.Unmarshal([]byte(page(t, p.admin+"cluster.json")), &o); err != nil {
		t.Fatal(err)
	}
	return o
}

// whole waits until p sees as many nodes, all with a bus that is well.
func whole(t *testing.T, p running, nodes int) {
	t.Helper()
	eventually(t, "the cluster is whole", func() bool {
		o := look(t, p)
		return len(o.Nodes) == nodes && !slices.ContainsFunc(o.Nodes, func(n nodeOverview) bool { return n.Bus != "ok" })
	})
}

// A browser is a Logux client of protocol 4 that says what it is told.
type browser struct {
	t    *testing.T
	conn net.Conn
}

func dial(t *testing.T, url, node, token string) *browser {
	t.Helper()
	conn, _, _, err := ws.Dial(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	b := &browser{t, conn}
	b.say(`["connect",4,"` + node + `",0,{"token":"` + token + `","subprotocol":"1.0.0"}]`)
	return b
}

func (b *browser) say(text string) {
	b.t.Helper()
	if err := wsutil.WriteClientText(b.conn, []byte(text)); err != nil {
		b.t.Fatal(err)
	}
}

// hears reads until a message holds part.
func (b *browser) hears(part string) string {
	b.t.Helper()
	for {
		text, err := wsutil.ReadServerText(b.conn)
		if err != nil {
			b.t.Fatalf("no message with %q came: %v", part, err)
		}
		if strings.Contains(string(text), part) {
			return string(text)
		}
	}
}

func post(t *testing.T, url, body string, header ...string) (status int, answer string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	response, err := client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(response.Body)
	if err := errors.Join(err, response.Body.Close()); err != nil {
		t.Error(err)
	}
	return response.StatusCode, string(text)
}

// Two nodes find each other; what the back-end sends through one reaches a client of the other; an operator
// disconnects it from anywhere; and a node that is asked to stop says goodbye.
func TestTwoNodes(t *testing.T) {
	redis := freeAddr(t)
	startRedis(t, redis)
	backend := startBackend(t)
	a := startNode(t, backend, "redis://"+redis, "LOGUX_ID", "a")
	b := startNode(t, backend, "redis://"+redis, "LOGUX_ID", "b", "LOGUX_JOIN", a.gossip)
	whole(t, a, 2)
	whole(t, b, 2)

	client := dial(t, b.listen, "10:uuid:tab", "right")
	client.hears(`"connected"`)
	client.say(`["sync",1,{"type":"logux/subscribe","channel":"posts"},{"id":[1,"10:uuid:tab",0],"time":1}]`)
	client.hears("logux/processed")
	if status, text := post(t, strings.Replace(a.listen, "ws://", "http://", 1),
		`{"version":4,"secret":"0123456789abcdef","commands":[{"command":"action","action":{"type":"crossed"},"meta":{"channels":["posts"]}}]}`); status != http.StatusOK {
		t.Fatalf("%d %s", status, text)
	}
	client.hears("crossed")

	for _, want := range []string{
		"logux_members 2", "logux_members_joined_total 1", "logux_links 1", `logux_bus_state{state="ok"} 1`, "logux_bus_received_total 1",
		`logux_redis_healthy{redis="` + redis + `"} 1`,
	} {
		eventually(t, want, func() bool { return strings.Contains(page(t, b.admin+"metrics"), "\n"+want+"\n") })
	}
	if text := page(t, b.admin+"readyz"); text != "connections: ready\ncluster: ready (bus ok, nodes 2)\nready\n" {
		t.Errorf("readyz: %s", text)
	}
	eventually(t, "a knows of b's client", func() bool {
		return slices.ContainsFunc(look(t, a).Nodes, func(n nodeOverview) bool { return n.ID == "server:b" && n.Connections == 1 && !n.Self })
	})
	if text := page(t, a.admin+"cluster"); !strings.Contains(text, "server:a") || !strings.Contains(text, "server:b") || !strings.Contains(text, redis) {
		t.Errorf("the page: %s", text)
	}

	status, answer := post(t, a.admin+"disconnect", `{"user":"10"}`, "Content-Type", "application/json")
	if status != http.StatusOK || !strings.Contains(answer, `"closed":0`) {
		t.Errorf("disconnect: %d %s", status, answer)
	}
	var closed wsutil.ClosedError
	for {
		if _, err := wsutil.ReadServerText(client.conn); err != nil {
			if !errors.As(err, &closed) || closed.Code != ws.StatusPolicyViolation {
				t.Errorf("closed with %v", err)
			}
			break
		}
	}

	if rest := a.stop(t); !strings.Contains(rest, "An operator disconnects") {
		t.Errorf("no line about who disconnected: %s", rest)
	}
	whole(t, b, 1)
	if rest := b.stop(t); !strings.Contains(rest, `"drained":true`) {
		t.Errorf("b did not hear the goodbye: %s", rest)
	}
}

// "A rolling deploy of every node loses no action": what the back-end has not answered when a node goes is processed by
// the one where the client comes back, and not undone.
func TestActionOfANodeThatGoes(t *testing.T) {
	redis := freeAddr(t)
	startRedis(t, redis)
	backend := startBackend(t)
	a := startNode(t, backend, "redis://"+redis)
	b := startNode(t, backend, "redis://"+redis, "LOGUX_JOIN", a.gossip)
	whole(t, a, 2)
	whole(t, b, 2)
	at := time.Now().UnixMilli() // times are told from the moment of connecting
	slow := func(b *browser) string {
		var connected []json.RawMessage
		var times []int64
		if err := json.Unmarshal([]byte(b.hears(`"connected"`)), &connected); err != nil || len(connected) < 4 || json.Unmarshal(connected[3], &times) != nil {
			t.Fatalf("%v in %s", err, connected)
		}
		return fmt.Sprintf(`["sync",1,{"type":"slow"},{"id":[%d,"10:uuid:tab",0],"time":%[1]d}]`, at-times[0])
	}
	client := dial(t, a.listen, "10:uuid:tab", "right")
	client.say(slow(client))
	eventually(t, "a has it", func() bool { return strings.Contains(page(t, a.admin+"metrics"), "\nlogux_actions_open 1\n") })
	if err := a.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	for {
		if _, err := wsutil.ReadServerText(client.conn); err != nil {
			break
		}
	}
	again := dial(t, b.listen, "10:uuid:tab", "right")
	again.say(slow(again))
	rest := a.rest()
	if err := a.cmd.Wait(); err != nil {
		t.Errorf("%v: %s", err, rest)
	}
	if answer := again.hears("logux/"); !strings.Contains(answer, "logux/processed") {
		t.Errorf("%s; a said: %s", answer, rest)
	}
}

// "3 wrong credentials in 3 s [...]: same count on the other nodes."
func TestWrongAttemptsCountOnAllNodes(t *testing.T) {
	redis := freeAddr(t)
	startRedis(t, redis)
	backend := startBackend(t)
	a := startNode(t, backend, "redis://"+redis)
	b := startNode(t, backend, "redis://"+redis, "LOGUX_JOIN", a.gossip)
	whole(t, a, 2)
	whole(t, b, 2)
	eventually(t, "b refuses who guessed at a", func() bool {
		for range 3 {
			dial(t, a.listen, "10:uuid:tab", "wrong").hears(`"error"`)
		}
		answer := dial(t, b.listen, "10:uuid:tab", "right").hears(`"`)
		return strings.Contains(answer, "bruteforce")
	})
}

// A Redis that refuses us ends the start, and the line says how to mend it. One that is away does not.
func TestRedisAtTheStart(t *testing.T) {
	addr := freeAddr(t)
	const password = "canary-91c4"
	settings := func(redis string) environment {
		return with("LOGUX_PORT", "0", "LOGUX_ADMIN_ADDR", "off", "LOGUX_REDIS", redis)
	}
	startRedis(t, addr, "--requirepass", password)
	for name, redis := range map[string]string{
		"password":        "redis://:" + password + "x@" + addr,
		"no password":     "redis://" + addr,
		"user":            "redis://nobody:" + password + "@" + addr,
		"no Sentinel":     "redis+sentinel://" + addr + "/main?sentinel_password=" + password,
		"no Cluster":      "redis+cluster://:" + password + "@" + addr,
		"database number": "redis://:" + password + "@" + addr + "/999",
	} {
		out, err := program(t, settings(redis)).CombinedOutput()
		var exit *exec.ExitError
		if !errors.As(err, &exit) || exit.ExitCode() != exitSetting {
			t.Errorf("%s: ended with %v", name, err)
		}
		if text := string(out); strings.Count(text, "\n") != 1 || !strings.Contains(text, "LOGUX_REDIS") || !strings.Contains(text, "; mend") || strings.Contains(text, password) {
			t.Errorf("%s: not one clear line: %s", name, text)
		}
	}

	away := freeAddr(t)
	p := startNode(t, "http://127.0.0.1:1/", "redis://"+away)
	eventually(t, "ready without Redis", func() bool { return get(t, p.admin+"readyz") == http.StatusOK })
	if o := look(t, p); o.Bus.State != "down" || len(o.Nodes) != 1 {
		t.Errorf("%+v", o)
	}
	startRedis(t, away)
	whole(t, p, 1)
	if rest := p.stop(t); !strings.Contains(rest, "Redis does not answer") || !strings.Contains(rest, "Redis brings what is published") {
		t.Errorf("the log: %s", rest)
	}
}

// readmeACL is the user that the README makes in Redis, with a password, and the rights in a Cluster on top.
func readmeACL(t *testing.T, password string) (user, more []string) {
	t.Helper()
	text, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, found := strings.Cut(string(text), "ACL SETUSER ")
	line, rest, _ := strings.Cut(rest, "\n")
	_, rest, inCluster := strings.Cut(rest, "in a Cluster `")
	rights, _, _ := strings.Cut(rest, "`")
	if !found || !inCluster {
		t.Fatal("the README has no user for Redis")
	}
	return strings.Fields(strings.Replace(line, ">PASSWORD", ">"+password, 1)), strings.Fields(rights)
}

// "The documented least ACL passes."
func TestReadmeACL(t *testing.T) {
	backend := startBackend(t)
	user, more := readmeACL(t, "pass")
	for form, args := range map[string][]string{"redis://": nil, "redis+cluster://": {"--cluster-enabled", "yes"}} {
		addr := freeAddr(t)
		startRedis(t, addr, args...)
		if len(args) > 0 {
			tell(t, addr, "OK", "cluster", "addslotsrange", "0", "16383")
			eventually(t, "the Cluster stands", func() bool { return strings.Contains(told(t, addr, "cluster", "info"), "cluster_state:ok") })
			user = append(user, more...)
		}
		tell(t, addr, "OK", append([]string{"acl", "setuser"}, user...)...)
		tell(t, addr, "OK", "acl", "setuser", "default", "off")
		p := startNode(t, backend, form+"logux:pass@"+addr)
		whole(t, p, 1)
		client := dial(t, p.listen, "10:uuid:tab", "right")
		client.hears(`"connected"`)
		client.say(`["sync",1,{"type":"logux/subscribe","channel":"posts"},{"id":[1,"10:uuid:tab",0],"time":1}]`)
		client.hears("logux/processed")
		if err := client.conn.Close(); err != nil { // it leaves something open
			t.Error(err)
		}
		eventually(t, "it is gone", func() bool { return look(t, p).Nodes[0].Connections == 0 })
		if rest := p.stop(t); strings.Contains(rest, "NOPERM") || strings.Contains(rest, "cannot be written") {
			t.Errorf("%s: %s", form, rest)
		}
	}
}

// tell sends a command to Redis and wants an answer.
func tell(t *testing.T, addr, want string, command ...string) {
	t.Helper()
	if got := strings.TrimSpace(told(t, addr, command...)); got != want {
		t.Fatalf("redis-cli %v: %s", command, got)
	}
}

func told(t *testing.T, addr string, command ...string) string {
	t.Helper()
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		t.Fatal(err)
	}
	out, err := exec.CommandContext(t.Context(), "redis-cli", append([]string{"-h", host, "-p", port}, command...)...).CombinedOutput()
	if err != nil {
		t.Fatalf("redis-cli %v: %v %s", command, err, out)
	}
	return string(out)
}

// "0 hits for a canary in logs (debug too), metrics, pprof, health, error texts."
func TestClusterSecretsStaySecret(t *testing.T) {
	const password = "canary-5e1d"
	key := base64.StdEncoding.EncodeToString([]byte("canary-of-gossip"))
	redis := freeAddr(t)
	startRedis(t, redis, "--requirepass", password)
	pairs := []string{"LOGUX_LOG_LEVEL", "debug", "LOGUX_GOSSIP_KEY", key}
	a := startNode(t, "http://127.0.0.1:1/", "redis://:"+password+"@"+redis, pairs...)
	b := startNode(t, "http://127.0.0.1:1/", "redis://:"+password+"@"+redis, append(pairs, "LOGUX_JOIN", a.gossip)...)
	whole(t, b, 2)
	// Somebody without the key, and a second start at the same address.
	out, err := program(t, with("LOGUX_PORT", "0", "LOGUX_ADMIN_ADDR", "off", "LOGUX_REDIS", "redis://:"+password+"@"+redis,
		"LOGUX_GOSSIP_ADDR", a.gossip, "LOGUX_GOSSIP_KEY", key)).CombinedOutput()
	if err == nil || !strings.Contains(string(out), "LOGUX_GOSSIP_ADDR") || strings.Count(string(out), "\n") != 1 {
		t.Errorf("a taken gossip address: %v %s", err, out)
	}
	said := []string{string(out)}
	for _, path := range []string{"readyz", "healthz", "metrics", "cluster", "cluster.json", "debug/pprof/goroutine?debug=2", ""} {
		said = append(said, page(t, b.admin+path))
	}
	said = append(said, a.stop(t), b.stop(t))
	for _, text := range said {
		for _, secret := range []string{password, key, strings.TrimRight(key, "="), "canary-of-gossip"} {
			if strings.Contains(text, secret) {
				t.Errorf("%s is in: %.2000s", secret, text)
			}
		}
	}
}
