package main

import (
	"encoding/base64"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"logux-proxy/cluster"
	"logux-proxy/wire"
)

// watching is a watcher of the node "server:a/1-a", and what it logs.
func watching() (*watcher, *observer.ObservedLogs) {
	core, logs := observer.New(zapcore.DebugLevel)
	n := &clusterNode{log: zap.New(core), life: "server:a/1-a", config: &Config{}}
	return &watcher{n: n, told: cluster.BusDown, twins: make(map[wire.ServerID]twin)}, logs
}

func peers(state cluster.BusState, draining bool) *cluster.View {
	return &cluster.View{Members: []cluster.Member{
		{ID: "server:a/1-a", Meta: cluster.Meta{Bus: cluster.BusOK}}, // what gossip says of us is old
		{ID: "server:b/1-b", Meta: cluster.Meta{Bus: state, Draining: draining}},
	}}
}

// "Readiness fails only while peers still see Redis."
func TestCutOff(t *testing.T) {
	alone := &cluster.View{Members: peers(cluster.BusOK, false).Members[:1]}
	start := time.Now()
	late := start.Add(cutOffAfter)
	for name, c := range map[string]struct {
		begun bool
		steps []cluster.BusState // ours, at the start and late
		view  *cluster.View
		want  bool
	}{
		"well":                        {true, []cluster.BusState{"ok", "ok"}, peers("ok", false), false},
		"degraded":                    {true, []cluster.BusState{"degraded", "degraded"}, peers("ok", false), false},
		"away from us alone":          {true, []cluster.BusState{"down", "down"}, peers("ok", false), true},
		"away only now":               {true, []cluster.BusState{"ok", "down"}, peers("ok", false), false},
		"away from all":               {true, []cluster.BusState{"down", "down"}, peers("down", false), false},
		"others are degraded":         {true, []cluster.BusState{"down", "down"}, peers("degraded", false), false},
		"the other one is going":      {true, []cluster.BusState{"down", "down"}, peers("ok", true), false},
		"nobody else":                 {true, []cluster.BusState{"down", "down"}, alone, false},
		"never there, others have it": {false, []cluster.BusState{"down"}, peers("ok", false), true},
		"never there for anybody":     {false, []cluster.BusState{"down"}, peers("down", false), false},
		"there at last":               {false, []cluster.BusState{"down", "ok"}, peers("ok", false), false},
	} {
		w, _ := watching()
		w.begun = c.begun
		var got bool
		for i, state := range c.steps {
			got = w.cutOff([]time.Time{start, late}[i], state, c.view)
		}
		if got != c.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

// The node says why it is not ready, and how it stands in any case.
func TestClusterReadiness(t *testing.T) {
	w, _ := watching()
	for _, h := range []busHealth{{"ok", false}, {"degraded", false}, {"down", false}, {"down", true}} {
		w.n.health.Store(&h)
		if err := w.n.ready(); (err != nil) != h.cutOff {
			t.Errorf("%+v: %v", h, err)
		}
		if text := w.n.detail(); text != "bus "+string(h.state) {
			t.Errorf("%+v: %s", h, text)
		}
	}
}

// A bus that comes and goes is a line each five seconds at most, and the last state is always told.
func TestBusStateIsLoggedSparingly(t *testing.T) {
	w, logs := watching()
	now := time.Now()
	for i := range 100 {
		w.say(now.Add(time.Duration(i)*100*time.Millisecond), []cluster.BusState{"ok", "degraded", "down", "ok"}[i%4])
	}
	if n := logs.Len(); n < 2 || n > 3 {
		t.Errorf("%d lines in 10 s", n)
	}
	w.say(now.Add(time.Minute), "degraded")
	w.say(now.Add(2*time.Minute), "degraded")
	w.say(now.Add(3*time.Minute), "ok")
	all := logs.All()
	if n := len(all); all[n-1].Level != zapcore.InfoLevel || all[n-2].Level != zapcore.WarnLevel {
		t.Errorf("%+v", all)
	}
}

// Another node of the same name is told once, when it is there to stay.
func TestTwins(t *testing.T) {
	w, logs := watching()
	view := &cluster.View{Members: []cluster.Member{
		{ID: "server:a/1-a"}, {ID: "server:b/1-b"}, {ID: "server:a/0-x", Addr: netip.MustParseAddrPort("10.0.0.1:7946")},
	}}
	now := time.Now()
	w.findTwins(now, view)
	w.findTwins(now.Add(twinAfter-time.Second), view)
	if logs.Len() != 0 {
		t.Errorf("too early: %+v", logs.All())
	}
	w.findTwins(now.Add(twinAfter), view)
	w.findTwins(now.Add(2*twinAfter), view)
	if all := logs.All(); len(all) != 1 || all[0].Level != zapcore.ErrorLevel || all[0].ContextMap()["address"] != "10.0.0.1:7946" {
		t.Errorf("%+v", all)
	}
	w.findTwins(now, &cluster.View{})
	w.findTwins(now, view)
	if len(w.twins) != 1 || w.twins["server:a/0-x"].told {
		t.Errorf("one that comes back is another: %+v", w.twins)
	}
}

// changing returns what changes the only secret file of w and says what the log said then, which never has a canary in it.
func changing(t *testing.T, w *watcher, logs *observer.ObservedLogs, path string) func(text string) (message string) {
	t.Helper()
	files := w.n.secretFiles()
	if len(files) != 1 {
		t.Fatalf("%d files", len(files))
	}
	f := files[0]
	f.look()
	if logs.Len() != 0 {
		t.Errorf("nothing has changed: %+v", logs.All())
	}
	modified := time.Now()
	return func(text string) (message string) {
		writeFile(t, path, text)
		modified = modified.Add(time.Minute)
		if err := os.Chtimes(path, modified, modified); err != nil {
			t.Fatal(err)
		}
		f.look()
		f.look()
		all := logs.TakeAll()
		if len(all) != 1 {
			t.Fatalf("%+v", all)
		}
		for _, field := range all[0].Context {
			if e, ok := field.Interface.(error); ok && strings.Contains(e.Error(), "canary") {
				t.Error(e)
			}
		}
		return all[0].Message
	}
}

// "Rotate [...] Redis password": a changed file changes who logs in; one that leads elsewhere does not.
func TestRedisFileChanges(t *testing.T) {
	path := filepath.Join(t.TempDir(), "redis")
	writeFile(t, path, "redis://u:old@a:1/2\n")
	w, logs := watching()
	w.n.config = mustLoad(t, with("LOGUX_REDIS_FILE", path))
	change := changing(t, w, logs, path)
	if m := change("redis://u:new@a:1/2"); !strings.Contains(m, "read again") {
		t.Error(m)
	}
	for _, text := range []string{"redis://u:canary@b:1/2", "redis://u:canary@a:x", "", "canary"} {
		if m := change(text); !strings.Contains(m, "the one before stays") {
			t.Errorf("%q: %s", text, m)
		}
	}
}

// "Rotate [...] gossip key": a changed file changes the keys; an unusable one does not, and its text is not told.
func TestGossipKeyFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "key")
	key := func(b byte) string {
		return base64.StdEncoding.EncodeToString([]byte(strings.Repeat(string(rune(b)), 32)))
	}
	writeFile(t, path, key('a'))
	c := mustLoad(t, gossip("LOGUX_GOSSIP_KEY_FILE", path))
	w, logs := watching()
	w.n.config = c
	var err error
	if w.n.members, err = cluster.NewMembers(cluster.MembersConfig{Self: w.n.life, Bind: "127.0.0.1:0", Keys: c.GossipKey}); err != nil {
		t.Fatal(err)
	}
	change := changing(t, w, logs, path)
	for _, text := range []string{key('b') + "\n" + key('a'), key('b')} {
		if m := change(text); !strings.Contains(m, "read again") {
			t.Errorf("%q: %s", text, m)
		}
	}
	for _, text := range []string{"canary", "", key('b') + ",canary"} {
		if m := change(text); !strings.Contains(m, "those before stay") {
			t.Errorf("%q: %s", text, m)
		}
	}
}

// Without gossip nobody is taken for dead: whoever takes over has to know.
func TestAliveWithoutGossip(t *testing.T) {
	w, _ := watching()
	if !w.n.alive("server:b/1-b") || w.n.addr() != "" || (*clusterNode)(nil).addr() != "" {
		t.Error("without gossip")
	}
	w.n.draining()
	(*clusterNode)(nil).draining()
}
