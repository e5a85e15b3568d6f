package main

import (
	"encoding/json"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"logux-proxy/wire"
)

// A page for whoever looks, JSON for whoever asks for it; whatever another node says about itself is text.
func TestClusterPage(t *testing.T) {
	const evil = `<script>alert("evil")</script>`
	now := time.Now()
	pages := noPages
	o := &overview{
		Time: now, Node: "server:a", Cluster: "blue",
		Nodes: []nodeOverview{
			{ID: "server:a", Self: true, Release: "1.0", Connections: 7, Load: 3, Bus: "ok", Gossip: "10.0.0.1:7946", Since: now.Add(-3 * time.Hour)},
			{ID: "server:b", Release: evil, Connections: 8, Load: 1 << 30, Draining: true, Bus: evil, Since: now.Add(time.Hour)},
		},
		Bus:    &busOverview{State: "degraded", Connections: []redisOverview{{Redis: "redis:6379", Error: evil}}},
		Gossip: &gossipCounts{Joins: 77}, Handover: &handoverCounts{Claims: 88},
	}
	pages.cluster = clusterPage(func() *overview { return o })
	h := adminHandler(pages, loopbackListener, zap.NewNop())

	w := ask(t, h, "GET", "/cluster")
	text := w.Body.String()
	if w.Code != 200 || !strings.HasPrefix(w.Header().Get("Content-Type"), "text/html") || !strings.Contains(w.Header().Get("Content-Security-Policy"), "default-src 'none'") {
		t.Errorf("%d %v", w.Code, w.Header())
	}
	for _, part := range []string{"server:a", "server:b", "draining", "degraded", "redis:6379", "10.0.0.1:7946", "3 h", "77", "88", "blue", "&lt;script&gt;"} {
		if !strings.Contains(text, part) {
			t.Errorf("%q is not on the page", part)
		}
	}
	if strings.Contains(text, evil) {
		t.Error("a node writes into the page")
	}
	for _, outside := range []string{"http://", "https://", "src="} {
		if strings.Contains(text, outside) {
			t.Errorf("%q: the page loads something", outside)
		}
	}
	for _, header := range [][]string{{"/cluster.json", "Accept", "text/html"}, {"/cluster", "Accept", "application/json"}} {
		w := ask(t, h, "GET", header[0], header[1:]...)
		var got overview
		if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil || len(got.Nodes) != 2 || got.Nodes[1].Release != evil || got.Bus.State != "degraded" {
			t.Errorf("%v: %v %s", header, err, w.Body)
		}
	}
	if w := ask(t, h, "POST", "/cluster"); w.Code != 405 {
		t.Errorf("POST: %d", w.Code)
	}

	// A single node is one row.
	o = &overview{Time: now, Node: "server:a", Nodes: []nodeOverview{{ID: "server:a", Self: true}}}
	if text := ask(t, h, "GET", "/cluster").Body.String(); !strings.Contains(text, "1 node,") || strings.Contains(text, "Redis, from") || strings.Contains(text, "Between the nodes") {
		t.Errorf("a single node: %s", text)
	}
}

func TestSingleNodeOverview(t *testing.T) {
	p := start(t, anyPort)
	var o overview
	if err := json.Unmarshal([]byte(page(t, p.admin+"cluster.json")), &o); err != nil || len(o.Nodes) != 1 || !o.Nodes[0].Self || o.Bus != nil || o.Gossip != nil {
		t.Errorf("%v %+v", err, o)
	}
	if text := page(t, p.admin+"cluster"); !strings.Contains(text, "server:") {
		t.Error(text)
	}
	_ = p.cmd.Process.Kill()
	p.rest()
	_ = p.cmd.Wait()
}

func TestAgo(t *testing.T) {
	now := time.Now()
	for d, want := range map[time.Duration]string{
		-time.Hour: "0 s", 0: "0 s", 119 * time.Second: "119 s", 2 * time.Minute: "2 min", 3 * time.Hour: "3 h", 72 * time.Hour: "3 days",
	} {
		if got := ago(now, now.Add(-d)); got != want {
			t.Errorf("%v: %s", d, got)
		}
	}
}

// A disconnecting remembers whom it was told to disconnect.
type disconnecting struct {
	mu      sync.Mutex
	users   []wire.UserID   // Guarded by mu.
	clients []wire.ClientID // Guarded by mu.
	err     error           // Guarded by mu.
}

func (d *disconnecting) Disconnect(users []wire.UserID, clients []wire.ClientID) (int, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.users, d.clients = append(d.users, users...), append(d.clients, clients...)
	return 3, d.err
}

func TestDisconnect(t *testing.T) {
	core, logs := observer.New(zapcore.InfoLevel)
	long := strings.Repeat("x", 2000)
	for name, c := range map[string]struct {
		query, body, header string
		status              int
		user, client        string
	}{
		"user":                     {"", `{"user":"10"}`, "Content-Type: application/json", 200, "10", ""},
		"client":                   {"", `{"client":"10:uuid"}`, "Content-Type: application/json; charset=utf-8", 200, "", "10:uuid"},
		"form":                     {"", "user=10", "Content-Type: application/x-www-form-urlencoded\nX-Logux-Admin: 1", 200, "10", ""},
		"query":                    {"?client=10:uuid", "", "X-Logux-Admin: 1", 200, "", "10:uuid"},
		"empty client beside user": {"", `{"user":"10","client":""}`, "Content-Type: application/json", 200, "10", ""},
		"form of a web page":       {"", "user=10", "Content-Type: application/x-www-form-urlencoded", 403, "", ""},
		"text of a web page":       {"", `{"user":"10"}`, "Content-Type: text/plain", 403, "", ""},
		"query of a web page":      {"?user=10", "", "", 403, "", ""},
		"both":                     {"", `{"user":"10","client":"10:uuid"}`, "Content-Type: application/json", 400, "", ""},
		"none":                     {"", `{}`, "Content-Type: application/json", 400, "", ""},
		"no JSON":                  {"", `user=10`, "Content-Type: application/json", 400, "", ""},
		"more JSON":                {"", `{"user":"10"}{"user":"11"}`, "Content-Type: application/json", 400, "", ""},
		"other keys":               {"", `{"users":["10"]}`, "Content-Type: application/json", 400, "", ""},
		"a number":                 {"", `{"user":10}`, "Content-Type: application/json", 400, "", ""},
		"a node ID":                {"", `{"client":"10:uuid:tab"}`, "Content-Type: application/json", 400, "", ""},
		"no client ID":             {"", `{"client":"10"}`, "Content-Type: application/json", 400, "", ""},
		"a long name":              {"", `{"user":"` + long + `"}`, "Content-Type: application/json", 400, "", ""},
		"a long body":              {"", `{"user":"10"` + strings.Repeat(" ", 5000) + `}`, "Content-Type: application/json", 400, "", ""},
	} {
		d := &disconnecting{}
		pages := noPages
		pages.disconnect = disconnectHandler(d, zap.New(core))
		w := askWith(t, adminHandler(pages, loopbackListener, zap.NewNop()), "POST", "/disconnect"+c.query, c.body, c.header)
		if w.Code != c.status || (c.user != "") != (len(d.users) == 1) || (c.client != "") != (len(d.clients) == 1) {
			t.Errorf("%s: %d %s: %+v", name, w.Code, w.Body, d)
			continue
		}
		lines := logs.TakeAll()
		if c.status != 200 {
			if len(lines) != 1 || lines[0].Level != zap.WarnLevel || lines[0].ContextMap()["audit"] != "admin" || lines[0].ContextMap()["status"] != int64(c.status) {
				t.Errorf("%s: who was refused: %+v", name, lines)
			}
			continue
		}
		var answer struct {
			User, Client string
			Closed       int
		}
		if err := json.Unmarshal(w.Body.Bytes(), &answer); err != nil || answer.User != c.user || answer.Client != c.client || answer.Closed != 3 {
			t.Errorf("%s: %v %s", name, err, w.Body)
		}
		if len(lines) != 1 || lines[0].ContextMap()["user"] != c.user || lines[0].ContextMap()["audit"] != "admin" || lines[0].ContextMap()["from"] == "" {
			t.Errorf("%s: who and whom: %+v", name, lines)
		}
	}
	d := &disconnecting{err: wire.ErrEnvelope}
	pages := noPages
	pages.disconnect = disconnectHandler(d, zap.New(core))
	h := adminHandler(pages, loopbackListener, zap.NewNop())
	if w := askWith(t, h, "POST", "/disconnect", `{"user":"10"}`, "Content-Type: application/json"); w.Code != 502 || !strings.Contains(w.Body.String(), `"closed":3`) {
		t.Errorf("the others were not told: %d %s", w.Code, w.Body)
	}
	if w := ask(t, h, "GET", "/disconnect?user=10", "X-Logux-Admin", "1"); w.Code != 405 || w.Header().Get("Allow") != "POST" {
		t.Errorf("GET: %d", w.Code)
	}
	if w := askWith(t, h, "POST", "/disconnect", `{"user":"10"}`, "Content-Type: application/json\nSec-Fetch-Site: cross-site"); w.Code != 403 {
		t.Errorf("another site: %d", w.Code)
	}
}
