package main

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
	"unicode"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"
)

func TestClusterTable(t *testing.T) {
	now := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	o := &overview{
		Time: now, Node: "server:a", Cluster: "blue",
		Nodes: []nodeOverview{
			{ID: "server:a", Self: true, Release: "1.2.0", Connections: 12345, Load: 24, Bus: "ok", Gossip: "10.0.0.1:7946", Since: now.Add(-3 * time.Hour)},
			{ID: "server:b", Release: "1.1.9\x1b[2J\n", Connections: 1, Draining: true, Bus: "down", Gossip: "10.0.0.2:7946", Since: now.Add(-5 * time.Second)},
		},
		Bus: &busOverview{State: "degraded", Gaps: 3, Healed: 2, Lost: 1, Connections: []redisOverview{
			{Redis: "redis-1:6379", Healthy: true, Since: now.Add(-48 * time.Hour), RoundTripMs: 0.42},
			{Redis: "redis-2:6379", Since: now.Add(-time.Minute), Error: "connection refused\x1b[31m"},
		}},
	}
	var text strings.Builder
	if err := writeClusterTable(&text, o); err != nil {
		t.Fatal(err)
	}
	text.WriteString("\n")
	if err := writeClusterTable(&text, &overview{Time: now, Node: "server:a", Nodes: []nodeOverview{{ID: "server:a", Self: true, Release: "1.2.0", Since: now}}}); err != nil {
		t.Fatal(err)
	}
	if strings.ContainsAny(text.String(), "\x1b\r") {
		t.Error("another node writes to the terminal")
	}
	golden(t, "cluster-table.txt", text.String())
}

// adminOf starts an admin listener with these pages, and returns its address.
func adminOf(t *testing.T, pages adminPages) string {
	t.Helper()
	server := httptest.NewServer(adminHandler(pages, loopbackListener, zap.NewNop()))
	t.Cleanup(server.Close)
	return strings.TrimPrefix(server.URL, "http://")
}

func TestClusterStatusOfANode(t *testing.T) {
	p := start(t, anyPort)
	defer p.kill()
	for _, args := range [][]string{{"cluster"}, {"cluster", "status"}} {
		out, errs, code := command(t, nil, "", append(args, "--admin", p.admin)...)
		if code != exitOK || errs != "" || !strings.HasPrefix(out, "NODE ") || !strings.Contains(out, "1 node, 0 clients") || strings.Contains(out, "bus") {
			t.Errorf("%v: %d %q %q", args, code, out, errs)
		}
	}
	out, errs, code := command(t, nil, "", "cluster", "--json", "--admin", p.admin)
	var o overview
	if err := json.Unmarshal([]byte(out), &o); err != nil || code != exitOK || errs != "" || len(o.Nodes) != 1 {
		t.Errorf("JSON: %v %d %q %q", err, code, out, errs)
	}
}

func TestDisconnectCommand(t *testing.T) {
	d := &disconnecting{}
	pages := noPages
	pages.disconnect = disconnectHandler(d, zap.NewNop())
	addr := adminOf(t, pages)
	for _, args := range [][]string{{"--user", "10"}, {"--client", "10:uuid"}} {
		out, errs, code := command(t, nil, "", append([]string{"cluster", "disconnect", "--admin", addr}, args...)...)
		if code != exitOK || out != "Closed 3 connections of the node asked; the other nodes were told to close theirs\n" || errs != "" {
			t.Errorf("%v: %d %q %q", args, code, out, errs)
		}
	}
	d.mu.Lock()
	if len(d.users) != 1 || d.users[0] != "10" || len(d.clients) != 1 || d.clients[0] != "10:uuid" {
		t.Errorf("%v %v", d.users, d.clients)
	}
	d.err = http.ErrServerClosed
	d.mu.Unlock()
	for _, args := range [][]string{{}, {"--user", "10", "--client", "10:uuid"}, {"--client", "10"}} {
		if _, errs, code := command(t, nil, "", append([]string{"cluster", "disconnect", "--admin", addr}, args...)...); code != exitSetting || !strings.Contains(errs, "--user 10 or --client 10:uuid") {
			t.Errorf("%v: %d %q", args, code, errs)
		}
	}
	if out, errs, code := command(t, nil, "", "cluster", "disconnect", "--admin", addr, "--user", "10"); code != exitFailed || out != "" || !strings.Contains(errs, "the other nodes were not told") {
		t.Errorf("half done: %d %q %q", code, out, errs)
	}
}

// What does not answer like a node is named as such.
func TestClusterOfNoNode(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/cluster.json":
			_, _ = w.Write([]byte(`{"hello":"world"}`))
		case "/disconnect":
			http.Redirect(w, r, "/elsewhere", http.StatusTemporaryRedirect)
		default:
			http.NotFound(w, r)
		}
	}))
	defer server.Close()
	for say, args := range map[string][]string{
		"is no Logux proxy":  {"cluster"},
		"answers 307":        {"cluster", "disconnect", "--user", "10"},
		"no admin listener":  {"cluster", "drain"},
		"connection refused": {"cluster", "status", "--admin", freeAddr(t)},
	} {
		if say != "connection refused" {
			args = append(args, "--admin", server.URL)
		}
		if out, errs, code := command(t, nil, "", args...); code != exitFailed || out != "" || !strings.Contains(errs, say) || strings.Count(errs, "\n") != 1 {
			t.Errorf("%v: %d %q %q", args, code, out, errs)
		}
	}
}

// The wish to drain does what SIGTERM does: the node is not ready, closes its clients and ends with 0.
func TestDrainOfANode(t *testing.T) {
	p := start(t, anyPort)
	out, errs, code := command(t, nil, "", "cluster", "drain", "--admin", p.admin)
	if code != exitOK || !strings.Contains(out, " drains: in 0s it begins to close its 0 clients") || errs != "" {
		t.Errorf("%d %q %q", code, out, errs)
	}
	rest := p.rest()
	if err := p.cmd.Wait(); err != nil {
		t.Errorf("ended with %v", err)
	}
	for _, part := range []string{"An operator drains this node", `"from":"127.0.0.1:`, "Logux proxy is stopping", "Logux proxy stopped"} {
		if !strings.Contains(rest, part) {
			t.Errorf("%q is not in the log: %s", part, rest)
		}
	}
}

// A web page that the operator has open cannot drain a node; a second wish changes nothing.
func TestDrainRequest(t *testing.T) {
	core, logs := observer.New(zapcore.InfoLevel)
	d := newDrainRequest()
	pages := noPages
	pages.drain = d.handler(func() drainAnswer { return drainAnswer{Node: "server:a", Clients: 7, GraceS: 5, DrainS: 25} }, zap.New(core))
	h := adminHandler(pages, loopbackListener, zap.NewNop())
	for _, headers := range []string{"", "Content-Type: text/plain", "Content-Type: application/json\nSec-Fetch-Site: cross-site"} {
		if w := askWith(t, h, "POST", "/drain", "{}", headers); w.Code != http.StatusForbidden {
			t.Errorf("%q: %d", headers, w.Code)
		}
	}
	if w := askWith(t, h, "GET", "/drain", "", "X-Logux-Admin: 1"); w.Code != http.StatusMethodNotAllowed {
		t.Errorf("GET: %d", w.Code)
	}
	select {
	case <-d.asked:
		t.Fatal("it drains")
	default:
	}
	for i, headers := range []string{"Content-Type: application/json", "X-Logux-Admin: 1"} {
		w := askWith(t, h, "POST", "/drain", "", headers)
		var answer drainAnswer
		if err := json.Unmarshal(w.Body.Bytes(), &answer); err != nil || w.Code != http.StatusAccepted || answer.Clients != 7 || answer.Repetition != (i == 1) {
			t.Errorf("%q: %d %s", headers, w.Code, w.Body)
		}
	}
	<-d.asked
	if logs.FilterMessage("An operator drains this node").Len() != 2 {
		t.Errorf("the log holds %v", logs.All())
	}
	out, _, code := command(t, nil, "", "cluster", "drain", "--admin", adminOf(t, pages))
	if code != exitOK || out != "server:a is draining already: 7 clients are left\n" {
		t.Errorf("%d %q", code, out)
	}
}

// The help of each command is enough to work from.
func TestHelpOfCommands(t *testing.T) {
	for args, parts := range map[string][]string{
		"check":              {"ok     it will work", "--running", "--backend-hold", "exit code is 0 without a wrong"},
		"cluster":            {"logux-proxy cluster disconnect --user 10", "logux-proxy cluster drain", "--admin=HOST:PORT", "--json"},
		"cluster status":     {"--json"},
		"cluster drain":      {"LOGUX_DRAIN_TIME", "--admin=HOST:PORT"},
		"cluster disconnect": {"--user=ID", "--client=ID"},
		"health":             {"HEALTHCHECK CMD", "--ready"},
		"send":               {"--channel=NAME", "< action.json", "LOGUX_CONTROL_SECRET_FILE", "LOGUX_CONTROL_MASK"},
	} {
		out, errs, code := command(t, nil, "", append(strings.Fields(args), "--help")...)
		if code != exitOK || errs != "" || !strings.HasPrefix(out, "Usage: logux-proxy "+args) {
			t.Errorf("%s: %d %q %q", args, code, out, errs)
		}
		for _, part := range parts {
			if !strings.Contains(out, part) {
				t.Errorf("%s: %q is missing in\n%s", args, part, out)
			}
		}
		if name, _, _ := strings.Cut(args, " "); !strings.Contains(about, "\n  "+name+" ") {
			t.Errorf("the help of the program does not name %s", name)
		}
	}
}

// While a node drains the others tell it, and the node itself, asked again, repeats it.
func TestClusterCommandsOfTwoNodes(t *testing.T) {
	redis := freeAddr(t)
	startRedis(t, redis)
	back := startBackend(t)
	a := startNode(t, back, "redis://"+redis, "LOGUX_ID", "a", "LOGUX_DRAIN_GRACE", "10m")
	b := startNode(t, back, "redis://"+redis, "LOGUX_ID", "b", "LOGUX_JOIN", a.gossip)
	whole(t, b, 2)
	out, errs, code := command(t, nil, "", "cluster", "drain", "--admin", a.admin)
	if want := "server:a drains: in 600s it begins to close its 0 clients, and takes 0s for it\n"; code != exitOK || out != want || errs != "" {
		t.Errorf("%d %q %q", code, out, errs)
	}
	eventually(t, "the other node tells that it drains", func() bool {
		out, _, code := command(t, nil, "", "cluster", "--admin", b.admin)
		drains, other := false, false
		for line := range strings.Lines(out) {
			fields := strings.Fields(line)
			drains = drains || len(fields) > 2 && fields[0] == "server:a" && fields[1] == "draining"
			other = other || len(fields) > 2 && fields[0] == "server:b" && fields[1] == "*" && fields[2] == "serving"
		}
		return code == exitOK && drains && other && strings.Contains(out, "2 nodes, 0 clients") && strings.Contains(out, "Redis "+redis+": ok")
	})
	if out, _, _ := command(t, nil, "", "cluster", "drain", "--admin", a.admin); !strings.Contains(out, "server:a is draining already") {
		t.Error(out)
	}
	if out, errs, code := command(t, nil, "", "health", "--ready", "--admin", a.admin); code != exitFailed || !strings.Contains(errs, "the node is stopping") {
		t.Errorf("%d %q %q", code, out, errs)
	}
}

// Whatever answers for a node, the table stays text on lines of its own.
func FuzzClusterTable(f *testing.F) {
	for _, text := range []string{
		`{"node":"a","nodes":[{"id":"a\nb","release":"\u001b[2J\u009b","gossip":"\t"}]}`,
		`{"node":"a","cluster":"\r","bus":{"state":"\u0007","connections":[{"redis":"\u001b","error":"\n"},{"healthy":true,"roundTripMs":-1e300}]}}`,
		`{"node":"a","time":"2026-01-02T03:04:05Z","nodes":[{"bus":"ok","since":"9999-01-01T00:00:00Z"}]}`,
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		var o overview
		if json.Unmarshal([]byte(text), &o) != nil {
			return
		}
		var table strings.Builder
		if err := writeClusterTable(&table, &o); err != nil {
			t.Fatal(err)
		}
		lines := 3 + len(o.Nodes)
		if o.Bus != nil {
			lines += 2 + len(o.Bus.Connections)
		}
		if n := strings.Count(table.String(), "\n"); n != lines {
			t.Errorf("%d lines in place of %d: %q", n, lines, table.String())
		}
		if i := strings.IndexFunc(table.String(), func(r rune) bool { return r != '\n' && unicode.IsControl(r) }); i >= 0 {
			t.Errorf("%q", table.String())
		}
	})
}
