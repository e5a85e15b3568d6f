package hub

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"logux-proxy/wire"
)

// A model is the hub as one would write it without caring for speed.
type model struct {
	members []*Member[string] // those that were added and not removed
	current map[wire.ClientID]*Member[string]
	subs    map[*Member[string]]map[wire.Subscription]State
}

func (w *model) resolve(t *wire.Targets, author wire.ClientID) []string {
	got := []string{}
	for _, m := range w.current {
		client, user := m.Node.Client(), m.Node.User()
		named := slices.Contains(t.Nodes, m.Node) || slices.Contains(t.Clients, client)
		left := client == author || slices.Contains(t.ExcludeClients, client)
		met := named || !left && user != "" && slices.Contains(t.Users, user)
		pending := false
		if !left {
			for sub, state := range w.subs[m] {
				if slices.Contains(t.Channels, sub.Channel) {
					met = met || state == Active
					pending = true
				}
			}
		}
		switch {
		case met:
			got = append(got, m.Peer)
		case pending:
			got = append(got, m.Peer+"?")
		}
	}
	slices.Sort(got)
	return got
}

func (w *model) counts() Counts {
	users, channels := map[wire.UserID]bool{}, map[string]bool{}
	c := Counts{Members: int64(len(w.current))}
	for _, m := range w.current {
		if user := m.Node.User(); user != "" {
			users[user] = true
		}
	}
	for _, subs := range w.subs {
		for sub := range subs {
			channels[sub.Channel] = true
			c.Subscriptions++
		}
	}
	c.Users, c.Channels = int64(len(users)), int64(len(channels))
	return c
}

// Random operations leave the hub and the model with the same members, the same matches and the
// same counts.
func TestHubEqualsModel(t *testing.T) {
	for seed := range uint64(10) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) { compareWithModel(t, rand.New(rand.NewPCG(seed, 1))) })
	}
}

func compareWithModel(t *testing.T, random *rand.Rand) {
	t.Helper()
	h := New[string]()
	w := &model{current: map[wire.ClientID]*Member[string]{}, subs: map[*Member[string]]map[wire.Subscription]State{}}
	tab := 0
	client := func() wire.ClientID {
		return wire.ClientID([]string{"", "1:", "2:", "3:"}[random.IntN(4)] + string(rune('a'+random.IntN(6))))
	}
	channel := func() string { return []string{"", "a", "b", "__proto__", fmt.Sprint(random.IntN(40))}[random.IntN(5)] }
	subscription := func() wire.Subscription {
		return wire.Subscription{Channel: channel(), Filter: []string{"", "", `{"a":1}`, `{"b":2}`}[random.IntN(4)]}
	}
	targets := func() *wire.Targets {
		t := &wire.Targets{}
		for range random.IntN(3) {
			t.Channels = append(t.Channels, channel())
		}
		for range random.IntN(2) {
			t.Users = append(t.Users, client().User())
		}
		for range random.IntN(2) {
			t.Clients = append(t.Clients, client())
		}
		for range random.IntN(2) {
			t.ExcludeClients = append(t.ExcludeClients, client())
		}
		if len(w.members) > 0 && random.IntN(2) == 0 {
			t.Nodes = append(t.Nodes, w.members[random.IntN(len(w.members))].Node)
		}
		return t
	}
	onChannel := func(m *Member[string], channel string) (n int) {
		for sub := range w.subs[m] {
			if sub.Channel == channel {
				n++
			}
		}
		return n
	}

	for step := range 3000 {
		var m *Member[string]
		if len(w.members) > 0 {
			m = w.members[random.IntN(len(w.members))]
		}
		switch op := random.IntN(10); {
		case m == nil || op == 0:
			id := client()
			node := wire.NodeID(id)
			if id.User() != "" {
				tab++
				node = wire.NodeID(fmt.Sprintf("%s:%d", id, tab))
			}
			m = &Member[string]{Peer: fmt.Sprint(step), Node: node}
			if got := h.Add(m); got != w.current[id] {
				t.Fatalf("step %d: Add replaced %v, want %v", step, got, w.current[id])
			}
			w.current[id] = m
			w.members = append(w.members, m)
			w.subs[m] = map[wire.Subscription]State{}
		case op == 1 && random.IntN(2) == 0:
			var got, want []string
			h.Remove(m, func(channel string) { got = append(got, channel) })
			for sub := range w.subs[m] {
				want = append(want, sub.Channel)
			}
			slices.Sort(got)
			slices.Sort(want)
			if want = slices.Compact(want); !slices.Equal(got, want) {
				t.Fatalf("step %d: Remove left %q, want %q", step, got, want)
			}
			delete(w.subs, m)
			w.members = slices.DeleteFunc(w.members, func(other *Member[string]) bool { return other == m })
			if w.current[m.Node.Client()] == m {
				delete(w.current, m.Node.Client())
			}
		case op <= 4:
			sub, state := subscription(), Pending+State(random.IntN(2))
			want := onChannel(m, sub.Channel) == 0
			if got := h.Subscribe(m, sub, state); got != want {
				t.Fatalf("step %d: Subscribe(%v) = %v", step, sub, got)
			}
			w.subs[m][sub] = max(state, w.subs[m][sub])
		case op <= 6:
			sub := subscription()
			had := onChannel(m, sub.Channel) > 0
			delete(w.subs[m], sub)
			if got, want := h.Unsubscribe(m, sub), had && onChannel(m, sub.Channel) == 0; got != want {
				t.Fatalf("step %d: Unsubscribe(%v) = %v", step, sub, got)
			}
		default:
			targets, author := targets(), client()
			if got, want := peers(h, targets, author), w.resolve(targets, author); !slices.Equal(got, want) {
				t.Fatalf("step %d: Resolve(%+v, %q) = %q, want %q", step, targets, author, got, want)
			}
		}
		if m != nil && h.Subscriptions(m) != len(w.subs[m]) {
			t.Fatalf("step %d: %d subscriptions, want %d", step, h.Subscriptions(m), len(w.subs[m]))
		}
		if got, want := h.Counts(), w.counts(); got != want {
			t.Fatalf("step %d: counts %+v, want %+v", step, got, want)
		}
	}
	for _, m := range w.members {
		h.Remove(m, func(string) {})
	}
	if got := h.Counts(); got != (Counts{}) {
		t.Fatalf("an empty hub holds %+v", got)
	}
}
