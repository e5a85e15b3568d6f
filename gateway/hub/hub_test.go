package hub

import (
	"slices"
	"testing"

	"logux-proxy/wire"
)

func add(t *testing.T, h *Hub[string], node wire.NodeID) *Member[string] {
	t.Helper()
	m := &Member[string]{Peer: string(node), Node: node}
	if old := h.Add(m); old != nil {
		t.Fatalf("Add(%s) replaced %s", node, old.Node)
	}
	return m
}

// peers resolves and returns who is met, in order of names; a pending one has a question mark.
func peers(h *Hub[string], t *wire.Targets, author wire.ClientID) []string {
	got := []string{}
	for _, m := range h.Resolve(nil, t, author) {
		if m.Pending {
			m.Peer += "?"
		}
		got = append(got, m.Peer)
	}
	slices.Sort(got)
	return got
}

func plain(channel string) wire.Subscription { return wire.Subscription{Channel: channel} }

func want(t *testing.T, got []string, names ...string) {
	t.Helper()
	if !slices.Equal(got, names) {
		t.Errorf("got %q, want %q", got, names)
	}
}

// PROTOCOL section 1: client ID is the first two parts, user ID the first; node ID without ":" is
// its own client ID and has no user ID.
func TestResolveByNodeClientUser(t *testing.T) {
	h := New[string]()
	add(t, h, "10:a:1")
	add(t, h, "10:b:1")
	add(t, h, "20:a:1")
	add(t, h, "uuid")
	add(t, h, "false:x:1")

	want(t, peers(h, &wire.Targets{Nodes: []wire.NodeID{"10:a:1"}}, ""), "10:a:1")
	want(t, peers(h, &wire.Targets{Nodes: []wire.NodeID{"10:a:2", "10:a", "10", ""}}, ""))
	want(t, peers(h, &wire.Targets{Clients: []wire.ClientID{"10:a", "10", "nobody"}}, ""), "10:a:1")
	want(t, peers(h, &wire.Targets{Users: []wire.UserID{"10"}}, ""), "10:a:1", "10:b:1")
	want(t, peers(h, &wire.Targets{Users: []wire.UserID{"false"}}, ""), "false:x:1")
	want(t, peers(h, &wire.Targets{Users: []wire.UserID{"uuid", ""}}, ""))
	want(t, peers(h, &wire.Targets{Clients: []wire.ClientID{"uuid"}}, ""), "uuid")
	want(t, peers(h, &wire.Targets{Nodes: []wire.NodeID{"uuid"}}, ""), "uuid")
	want(t, peers(h, &wire.Targets{}, ""))
	want(t, peers(h, nil, ""))

	if m := h.Client("20:a"); m == nil || m.Node != "20:a:1" {
		t.Errorf("Client(20:a) = %v", m)
	}
	if m := h.Client("20"); m != nil {
		t.Errorf("Client(20) = %v", m)
	}
}

// PROTOCOL section 3, rule 4: "once per client even if several targets match. channels and users
// leave out the client that sent it and excludeClients; a client named in clients or nodes gets it in
// any case."
func TestResolveOnceWithoutAuthor(t *testing.T) {
	h := New[string]()
	for _, node := range []wire.NodeID{"1:author:t", "1:other:t", "2:excluded:t", "2:reader:t"} {
		m := add(t, h, node)
		h.Subscribe(m, plain("c"), Active)
		h.Subscribe(m, plain("d"), Active)
	}
	all := wire.Targets{
		Channels:       []string{"c", "d", "c"},
		Users:          []wire.UserID{"1", "2", "1"},
		ExcludeClients: []wire.ClientID{"2:excluded"},
	}
	want(t, peers(h, &all, "1:author"), "1:other:t", "2:reader:t")
	want(t, peers(h, &all, ""), "1:author:t", "1:other:t", "2:reader:t")

	all.Clients = []wire.ClientID{"1:author", "1:author"}
	all.Nodes = []wire.NodeID{"2:excluded:t", "2:excluded:t", "2:excluded:other"}
	want(t, peers(h, &all, "1:author"), "1:author:t", "1:other:t", "2:excluded:t", "2:reader:t")
}

// More exclusions than are searched one by one.
func TestResolveManyExcluded(t *testing.T) {
	h := New[string]()
	h.Subscribe(add(t, h, "1:a:t"), plain("c"), Active)
	h.Subscribe(add(t, h, "1:b:t"), plain("c"), Active)
	targets := wire.Targets{Channels: []string{"c"}}
	for range 5 * excludeList {
		targets.ExcludeClients = append(targets.ExcludeClients, wire.ClientID("9:"+string(rune('a'+len(targets.ExcludeClients)))))
	}
	want(t, peers(h, &targets, "1:z"), "1:a:t", "1:b:t")
	targets.ExcludeClients[3*excludeList] = "1:a"
	want(t, peers(h, &targets, "1:z"), "1:b:t")
	want(t, peers(h, &targets, "1:b"))
}

// PROTOCOL section 4: "One node can subscribe to the same channel several times with different
// filter objects; each is a subscription of its own, removed by an unsubscribe with the equal filter; the
// client still gets each action once."
func TestFilters(t *testing.T) {
	h := New[string]()
	m := add(t, h, "1:a:t")
	f, g := wire.Subscription{Channel: "c", Filter: `{"f":1}`}, wire.Subscription{Channel: "c", Filter: `{"g":1}`}
	targets := &wire.Targets{Channels: []string{"c"}}

	if !h.Subscribe(m, f, Active) || h.Subscribe(m, g, Active) || h.Subscribe(m, plain("c"), Active) {
		t.Error("only the first Subscribe of a channel is its first")
	}
	if n := h.Subscriptions(m); n != 3 {
		t.Errorf("%d subscriptions", n)
	}
	want(t, peers(h, targets, ""), "1:a:t")
	if h.Unsubscribe(m, f) || h.Unsubscribe(m, plain("c")) {
		t.Error("Unsubscribe reports the last while one is left")
	}
	if h.Unsubscribe(m, f) {
		t.Error("Unsubscribe of what is not there reports the last")
	}
	want(t, peers(h, targets, ""), "1:a:t")
	if !h.Unsubscribe(m, g) {
		t.Error("Unsubscribe does not report the last")
	}
	want(t, peers(h, targets, ""))
	if got := h.Counts(); got != (Counts{Members: 1, Users: 1}) {
		t.Errorf("counts %+v", got)
	}
}

// PROTOCOL section 4: "Subscriptions are not counted: two subscribes with the same filter need
// one unsubscribe. … The empty string is a channel." and "__proto__ and friends are ordinary strings".
func TestOrdinaryChannels(t *testing.T) {
	h := New[string]()
	m := add(t, h, "1:a:t")
	for _, name := range []string{"", "__proto__", "constructor", "a/b", "*"} {
		if !h.Subscribe(m, plain(name), Active) || h.Subscribe(m, plain(name), Active) {
			t.Errorf("%q: first is wrong", name)
		}
		want(t, peers(h, &wire.Targets{Channels: []string{name}}, ""), "1:a:t")
		want(t, peers(h, &wire.Targets{Channels: []string{name + "x"}}, ""))
		if !h.Unsubscribe(m, plain(name)) {
			t.Errorf("%q: one unsubscribe is not enough", name)
		}
		want(t, peers(h, &wire.Targets{Channels: []string{name}}, ""))
	}
}

// A member is pending only while no active subscription and no other target reaches it.
func TestPending(t *testing.T) {
	h := New[string]()
	m := add(t, h, "1:a:t")
	c := &wire.Targets{Channels: []string{"c"}}
	both := &wire.Targets{Channels: []string{"c", "d"}}
	filtered := wire.Subscription{Channel: "c", Filter: `{"f":1}`}

	h.Subscribe(m, plain("c"), Pending)
	want(t, peers(h, c, ""), "1:a:t?")
	want(t, peers(h, &wire.Targets{Channels: []string{"c"}, Users: []wire.UserID{"1"}}, ""), "1:a:t")
	want(t, peers(h, &wire.Targets{Channels: []string{"c"}, Nodes: []wire.NodeID{"1:a:t"}}, "1:a"), "1:a:t")
	h.Subscribe(m, plain("d"), Pending)
	want(t, peers(h, both, ""), "1:a:t?")
	h.Subscribe(m, plain("d"), Active)
	want(t, peers(h, both, ""), "1:a:t")
	want(t, peers(h, c, ""), "1:a:t?")

	h.Subscribe(m, filtered, Active)
	want(t, peers(h, c, ""), "1:a:t")
	h.Subscribe(m, filtered, Pending) // never replaces Active
	want(t, peers(h, c, ""), "1:a:t")
	h.Unsubscribe(m, filtered)
	want(t, peers(h, c, ""), "1:a:t?")
	h.Subscribe(m, plain("c"), Active)
	want(t, peers(h, c, ""), "1:a:t")
}

// PROTOCOL section 6: "A second connection with the same client ID replaces the first".
func TestReplace(t *testing.T) {
	h := New[string]()
	old := add(t, h, "1:a:old")
	h.Subscribe(old, plain("c"), Active)
	fresh := &Member[string]{Peer: "1:a:new", Node: "1:a:new"}
	if got := h.Add(fresh); got != old {
		t.Fatalf("Add replaced %v", got)
	}
	everything := &wire.Targets{
		Nodes: []wire.NodeID{"1:a:old"}, Clients: []wire.ClientID{"1:a"}, Users: []wire.UserID{"1"}, Channels: []string{"c"},
	}
	want(t, peers(h, everything, ""), "1:a:new")
	want(t, peers(h, &wire.Targets{Channels: []string{"c"}}, ""))

	// The replaced connection does not know yet and goes on for a moment.
	if h.Subscribe(old, plain("d"), Active); len(peers(h, &wire.Targets{Channels: []string{"d"}}, "")) != 0 {
		t.Error("a replaced member is met")
	}
	var left []string
	h.Remove(old, func(channel string) { left = append(left, channel) })
	slices.Sort(left)
	want(t, left, "c", "d")
	want(t, peers(h, everything, ""), "1:a:new")
	if h.Client("1:a") != fresh {
		t.Error("Remove of the replaced member took its successor out")
	}
	if got := h.Counts(); got != (Counts{Members: 1, Users: 1}) {
		t.Errorf("counts %+v", got)
	}
}

func TestRemove(t *testing.T) {
	h := New[string]()
	m, other := add(t, h, "1:a:t"), add(t, h, "1:b:t")
	h.Subscribe(other, plain("c0"), Active)
	var names []string
	for i := range 3 * few {
		names = append(names, "c"+string(rune('0'+i)))
		h.Subscribe(m, plain(names[i]), Active)
		h.Subscribe(m, wire.Subscription{Channel: names[i], Filter: "{}"}, Pending)
	}
	slices.Sort(names)
	var left []string
	h.Remove(m, func(channel string) { left = append(left, channel) })
	slices.Sort(left)
	want(t, left, names...)
	h.Remove(m, func(string) { t.Error("left is called by a second Remove") })
	h.Remove(&Member[string]{Node: "never:added:t"}, func(string) { t.Error("left is called for a stranger") })
	if h.Subscribe(m, plain("c"), Active) || h.Subscriptions(m) != 0 {
		t.Error("a removed member subscribes")
	}
	want(t, peers(h, &wire.Targets{Channels: names, Users: []wire.UserID{"1"}}, ""), "1:b:t")
	if got := h.Counts(); got != (Counts{Members: 1, Users: 1, Channels: 1, Subscriptions: 1}) {
		t.Errorf("counts %+v", got)
	}
}

func TestResolveKeepsDst(t *testing.T) {
	h := New[string]()
	add(t, h, "1:a:t")
	dst := []Match[string]{{Peer: "before", Pending: true}}
	dst = h.Resolve(dst, &wire.Targets{Users: []wire.UserID{"1"}, Clients: []wire.ClientID{"1:a"}}, "")
	if len(dst) != 2 || dst[0] != (Match[string]{"before", true}) || dst[1] != (Match[string]{"1:a:t", false}) {
		t.Errorf("dst = %v", dst)
	}
}
