package cluster

import (
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/memberlist"

	"logux-proxy/wire"
)

// Meta never passes 512 bytes, whatever the numbers become: memberlist would panic.
func TestMetaFits(t *testing.T) {
	m := Meta{Release: strings.Repeat("r", maxRelease), Address: strings.Repeat("a", maxAddress)}
	if err := m.validate(); err != nil {
		t.Fatal(err)
	}
	m.Connections, m.Load, m.Envelope = 1<<62, -5, 1<<62
	m.Draining, m.Bus = true, BusState(strings.Repeat("x", maxBus))
	m.clamp()
	text, err := m.encode()
	if err != nil || len(text) > memberlist.MetaMaxSize {
		t.Errorf("%d bytes, %v", len(text), err)
	}
	if got, ok := decodeMeta(text); !ok || got != m {
		t.Errorf("%+v became %+v", m, got)
	}
}

func TestMetaOfOtherReleases(t *testing.T) {
	for text, want := range map[string]Meta{
		`{"r":"9.0","e":7,"c":3,"new":{"x":[1]},"d":true}`: {Release: "9.0", Envelope: 7, Connections: 3, Draining: true},
		`{}`: {},
	} {
		if got, ok := decodeMeta([]byte(text)); !ok || got != want {
			t.Errorf("%s became %+v, %v", text, got, ok)
		}
	}
	for _, text := range []string{"", "x", `{"c":"many"}`, `{"r":"` + strings.Repeat("r", 65) + `"}`, `{"b":"` + strings.Repeat("r", 17) + `"}`, strings.Repeat(" ", 511) + "{}"} {
		if got, ok := decodeMeta([]byte(text)); ok || got != (Meta{}) {
			t.Errorf("%.20s became %+v", text, got)
		}
	}
}

func FuzzMeta(f *testing.F) {
	f.Add([]byte(`{"r":"1.0","e":1,"c":5,"l":50,"d":true,"b":"ok","a":"wss://example.com"}`))
	f.Add([]byte(`{"c":-1,"l":1e400}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		m, ok := decodeMeta(text)
		if !ok {
			return
		}
		if m.Connections < 0 || m.Load < 0 || m.Envelope < 0 || m.Connections > maxCount || len(m.Release) > maxRelease || len(m.Address) > maxAddress || len(m.Bus) > maxBus {
			t.Errorf("%+v", m)
		}
	})
}

func TestServerID(t *testing.T) {
	at := time.UnixMilli(1_700_000_000_123)
	for _, node := range []wire.NodeID{"server:a", "server:a/b", "server:uuid:x"} {
		id, other := wire.NewServerID(node, at), wire.NewServerID(node, at)
		if id == other {
			t.Error("two lives have one name")
		}
		if id.Node() != node || id.Started() != at.UnixMilli() || !id.Valid() {
			t.Errorf("%s: node %s, started %d, valid %v", id, id.Node(), id.Started(), id.Valid())
		}
	}
	for id, started := range map[wire.ServerID]int64{"server:a": 0, "server:a/": 0, "server:a/x": 33, "server:a/!-x": 0, "server:a/-5-x": 0, "": 0} {
		if got := id.Started(); got != started {
			t.Errorf("%q started at %d", id, got)
		}
	}
	for _, id := range []wire.ServerID{"", "server:a", "38:a/1-A", "a/1-A", "server:a b/1-A", "server:a\n/1-A", wire.ServerID("server:" + strings.Repeat("a", 250) + "/1-A")} {
		if id.Valid() {
			t.Errorf("%q is valid", id)
		}
	}
}
