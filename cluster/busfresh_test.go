package cluster

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"go.uber.org/zap"

	"logux-proxy/wire"
)

// A receivedSeqs is a BusReceiver that notes what comes.
type receivedSeqs struct{ seqs []uint64 }

func (r *receivedSeqs) Receive(e *wire.Envelope) { r.seqs = append(r.seqs, e.Seq) }
func (r *receivedSeqs) Gap()                     {}

type noMesh struct{}

func (noMesh) Peers() []wire.NodeID           { return []wire.NodeID{"server:b"} }
func (noMesh) Send(wire.NodeID, []byte) error { return nil }

// While Redis is away a topic is joined, newer envelopes of it come in pages, and then a page begins earlier: what was
// published before the join does not come behind them, but what is missing on other topics does.
func TestNothingFromBeforeAJoinComesLate(t *testing.T) {
	r, err := ParseRedis("redis://one")
	if err != nil {
		t.Fatal(err)
	}
	received := &receivedSeqs{}
	b, err := NewBus(BusConfig{Redis: r, Server: "server:a", Receiver: received, Mesh: noMesh{}, Log: zap.NewNop()})
	if err != nil {
		t.Fatal(err)
	}
	for _, channel := range []string{"a", "b"} {
		b.Join(wire.ChannelTopic(channel), func(error) {})
	}
	bring := func(from, to uint64, channels map[uint64][]string) {
		p := &page{epoch: 1, from: from, to: to}
		for seq := from + 1; seq <= to; seq++ {
			if on := channels[seq]; on != nil {
				p.envelopes = append(p.envelopes, wire.AppendEnvelope(nil, &wire.Envelope{
					Origin: "server:b", Epoch: 1, Seq: seq, Targets: wire.Targets{Channels: on},
					Action: &wire.Action{ID: wire.ActionID(fmt.Sprint(seq, " 38:a:b 0")), Body: wire.RawJSON(`{}`)},
				}))
			}
		}
		b.paged("server:b", p)
	}
	bring(10, 14, map[uint64][]string{12: {"a"}, 14: {"a"}})
	bring(2, 14, map[uint64][]string{
		3:  {"a"},      // before the join
		4:  {"b"},      // missing
		5:  {"a", "b"}, // missing on one of the two
		6:  {"other"},  // for others
		12: {"a"}, 14: {"a"},
	})
	if want := []uint64{12, 14, 4, 5}; !slices.Equal(received.seqs, want) {
		t.Errorf("%v came, want %v", received.seqs, want)
	}
}

// Two servers start at the same moment: one hears the other through Redis before it is subscribed to everything and before the
// mesh knows it. That waits for what was published before, or until there is nothing to wait for.
func TestNothingOvertakesWhatTheMeshWillBring(t *testing.T) {
	for name, c := range map[string]struct {
		then func(b *Bus, n *redisNode)
		want []uint64
	}{
		"nothing": {func(*Bus, *redisNode) {}, nil},
		"the mesh": {func(b *Bus, _ *redisNode) {
			b.peers.Store(&map[wire.NodeID]bool{"server:b": true})
			b.reviewOrigins(time.Now())
			b.paged("server:b", &page{epoch: 1, from: 0, to: 7, envelopes: [][]byte{onChannel(6), onChannel(7)}})
			if b.eachOrigin(func(o *origin) { o.gaveUp = true; o.releaseLocked() }); b.Stats().Duplicates != 1 {
				t.Error("what was held is not released")
			}
		}, []uint64{6, 7}},
		"all is subscribed": {func(b *Bus, n *redisNode) {
			n.mu.settled = true
			b.reviewOrigins(time.Now())
		}, []uint64{7}},
		"three heartbeats": {func(b *Bus, n *redisNode) {
			<-time.After(b.cfg.silence())
			b.reviewOrigins(time.Now())
			b.envelopeCame(n, string(onChannel(8)))
		}, []uint64{7, 8}},
		"too much": {func(b *Bus, n *redisNode) {
			b.cfg.HoldBytes = 1
			b.envelopeCame(n, string(onChannel(8)))
		}, []uint64{7, 8}},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				r, err := ParseRedis("redis://one")
				if err != nil {
					t.Fatal(err)
				}
				received := &receivedSeqs{}
				b, err := NewBus(BusConfig{Redis: r, Server: "server:a", Receiver: received, Mesh: noMesh{}})
				if err != nil {
					t.Fatal(err)
				}
				b.Join(wire.ChannelTopic("a"), func(error) {})
				n := b.layout.Load().nodes[0]
				b.envelopeCame(n, string(onChannel(7)))
				b.reviewOrigins(time.Now())
				if c.then(b, n); !slices.Equal(received.seqs, c.want) {
					t.Errorf("%v came, want %v", received.seqs, c.want)
				}
			})
		})
	}
}

// onChannel is an envelope of another server.
func onChannel(seq uint64) []byte {
	return wire.AppendEnvelope(nil, &wire.Envelope{
		Origin: "server:b", Epoch: 1, Seq: seq, Targets: wire.Targets{Channels: []string{"a"}},
		Action: &wire.Action{ID: wire.ActionID(fmt.Sprint(seq, " 38:a:b 0")), Body: wire.RawJSON(`{}`)},
	})
}

// The notes about pages go when nothing older can be sent any more.
func TestNewestForgets(t *testing.T) {
	const keep = 30 * time.Second
	var n newest
	start := time.Unix(0, 0)
	on := func(channel string, seq uint64) *wire.Envelope {
		return &wire.Envelope{Seq: seq, Targets: wire.Targets{Channels: []string{channel}}}
	}
	n.note(on("a", 1), start, keep)
	n.note(on("b", 2), start.Add(keep+1), keep)
	if n.of[1][wire.ChannelTopic("a")] != 1 {
		t.Error("it was forgotten too early")
	}
	n.note(on("b", 3), start.Add(2*keep+2), keep)
	if len(n.of[0])+len(n.of[1]) != 2 || n.of[1][wire.ChannelTopic("b")] != 2 {
		t.Errorf("%v", n.of)
	}
}

// An announcement that comes past Redis is for every server, so that who announces hears from all; an old one is not.
func TestAnnouncementsInPagesAreForAll(t *testing.T) {
	r, err := ParseRedis("redis://one")
	if err != nil {
		t.Fatal(err)
	}
	received := &receivedSeqs{}
	b, err := NewBus(BusConfig{Redis: r, Server: "server:a", Receiver: received, Mesh: noMesh{}, Log: zap.NewNop()})
	if err != nil {
		t.Fatal(err)
	}
	announce := func(seq uint64, age time.Duration) []byte {
		return wire.AppendEnvelope(nil, &wire.Envelope{
			Kind: wire.KindAttach, Origin: "server:b", Epoch: 1, Seq: seq, Published: time.Now().Add(-age).UnixMilli(),
			Targets: wire.Targets{Clients: []wire.ClientID{"38:a"}}, Note: &wire.Note{Server: "server:b/1-B", Turn: seq},
		})
	}
	b.paged("server:b", &page{epoch: 1, from: 0, to: 2, envelopes: [][]byte{announce(1, time.Minute), announce(2, 0)}})
	if want := []uint64{2}; !slices.Equal(received.seqs, want) {
		t.Errorf("%v came, want %v", received.seqs, want)
	}
}
