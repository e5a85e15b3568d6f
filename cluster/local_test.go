package cluster

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"

	"logux-proxy/wire"
)

// An inbox is a Receiver that keeps what it got.
type inbox struct {
	mu   sync.Mutex
	seqs []uint64
	from map[wire.NodeID][]uint64
}

func (b *inbox) Receive(e *wire.Envelope) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.seqs = append(b.seqs, e.Seq)
	if b.from == nil {
		b.from = make(map[wire.NodeID][]uint64)
	}
	b.from[e.Origin] = append(b.from[e.Origin], e.Seq)
}

func (b *inbox) want(t *testing.T, name string, seqs ...uint64) {
	t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	if !slices.Equal(b.seqs, seqs) {
		t.Errorf("%s got %v, want %v", name, b.seqs, seqs)
	}
	b.seqs = nil
}

func join(t *testing.T, p *Port, topics ...wire.Topic) {
	t.Helper()
	for _, topic := range topics {
		calls := 0
		p.Join(topic, func(err error) {
			calls++
			if err != nil {
				t.Errorf("Join(%s): %v", topic, err)
			}
		})
		if calls != 1 {
			t.Errorf("Join(%s) called done %d times", topic, calls)
		}
	}
}

func publish(t *testing.T, p *Port, seq uint64, targets wire.Targets) {
	t.Helper()
	if err := p.Publish(&wire.Envelope{Origin: p.Server(), Seq: seq, Targets: targets}); err != nil {
		t.Errorf("Publish %d: %v", seq, err)
	}
}

func TestPublishReachesOthersWithAnInterest(t *testing.T) {
	l := NewLocal()
	var a, b, c inbox
	pa, pb, pc := l.Attach("server:a", &a), l.Attach("server:b", &b), l.Attach("server:c", &c)
	join(t, pa, wire.ChannelTopic("x"))
	join(t, pb, wire.ChannelTopic("x"), wire.ChannelTopic("y"), wire.UserTopic("1"))
	join(t, pc, wire.UserTopic("1"))

	publish(t, pa, 1, wire.Targets{Channels: []string{"x"}})
	publish(t, pa, 2, wire.Targets{Users: []wire.UserID{"1"}})
	publish(t, pa, 3, wire.Targets{Clients: []wire.ClientID{"1:tab"}})
	publish(t, pa, 4, wire.Targets{Channels: []string{"nobody"}})
	publish(t, pa, 5, wire.Targets{Channels: []string{"x", "y"}, Users: []wire.UserID{"1"}, Nodes: []wire.NodeID{"1:tab:n"}})
	publish(t, pc, 6, wire.Targets{Channels: []string{"x"}})
	a.want(t, "a", 6)
	b.want(t, "b", 1, 2, 3, 5, 6)
	c.want(t, "c", 2, 3, 5)
}

func TestJoinsCount(t *testing.T) {
	l := NewLocal()
	var a, b inbox
	pa, pb := l.Attach("server:a", &a), l.Attach("server:b", &b)
	x, topic := wire.Targets{Channels: []string{"x"}}, wire.ChannelTopic("x")

	pb.Leave(topic) // of nothing
	join(t, pb, topic, topic)
	pb.Leave(topic)
	publish(t, pa, 1, x)
	pb.Leave(topic)
	publish(t, pa, 2, x)
	pb.Leave(topic)
	join(t, pb, topic)
	publish(t, pa, 3, x)
	b.want(t, "b", 1, 3)

	pb.Leave(topic)
	if len(l.topics) != 0 {
		t.Errorf("the bus remembers %v", l.topics)
	}
}

func TestDetach(t *testing.T) {
	l := NewLocal()
	var a, b, c inbox
	pa, pb, pc := l.Attach("server:a", &a), l.Attach("server:b", &b), l.Attach("server:c", &c)
	x := wire.Targets{Channels: []string{"x"}}
	join(t, pb, wire.ChannelTopic("x"))
	join(t, pc, wire.ChannelTopic("x"), wire.ChannelTopic("y"))
	pc.Detach()
	pc.Detach()
	publish(t, pa, 1, x)
	b.want(t, "b", 1)
	c.want(t, "c")
	if err := pc.Publish(&wire.Envelope{Targets: x}); !errors.Is(err, ErrDetached) {
		t.Errorf("Publish on a detached port: %v", err)
	}
	pc.Join("ch:x", func(err error) {
		if !errors.Is(err, ErrDetached) {
			t.Errorf("Join on a detached port: %v", err)
		}
	})
	pc.Leave("ch:x")
	pb.Detach()
	if len(l.topics) != 0 {
		t.Errorf("the bus remembers %v", l.topics)
	}
}

// Servers publish, join and leave at once; what stays joined gets everything of each publisher, once
// and in order.
func TestConcurrent(t *testing.T) {
	const servers, envelopes = 4, 300
	l := NewLocal()
	var stays inbox
	join(t, l.Attach("server:stays", &stays), wire.ChannelTopic("x"), wire.UserTopic("1"))
	targets := wire.Targets{Channels: []string{"x", "y"}, Users: []wire.UserID{"1"}}
	var wait sync.WaitGroup
	for i := range servers {
		p := l.Attach(wire.NodeID(fmt.Sprint("server:", i)), &inbox{})
		wait.Go(func() {
			for seq := range uint64(envelopes) {
				publish(t, p, seq, targets)
			}
		})
		wait.Go(func() {
			for range envelopes {
				join(t, p, wire.ChannelTopic("x"), wire.ChannelTopic("y"))
				p.Leave(wire.ChannelTopic("x"))
				p.Leave(wire.ChannelTopic("y"))
			}
		})
	}
	wait.Wait()
	if len(stays.from) != servers {
		t.Fatalf("heard of %d servers", len(stays.from))
	}
	for origin, seqs := range stays.from {
		if len(seqs) != envelopes || !slices.IsSorted(seqs) || len(slices.Compact(seqs)) != envelopes {
			t.Errorf("of %s came %v", origin, seqs)
		}
	}
}

func TestPublishAloneAllocatesNothing(t *testing.T) {
	p := NewLocal().Attach("server:a", &inbox{})
	join(t, p, wire.ChannelTopic("x"))
	e := &wire.Envelope{Targets: wire.Targets{Channels: []string{"x"}, Users: []wire.UserID{"1", "2"}}}
	if n := testing.AllocsPerRun(100, func() { _ = p.Publish(e) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestAlone(t *testing.T) {
	called := 0
	Alone{}.Join("ch:x", func(err error) {
		called++
		if err != nil {
			t.Error(err)
		}
	})
	if called != 1 {
		t.Errorf("done called %d times", called)
	}
	Alone{}.Leave("ch:x")
	if err := (Alone{}).Publish(&wire.Envelope{}); err != nil {
		t.Error(err)
	}
}

func BenchmarkPublish(b *testing.B) {
	for _, others := range []int{0, 1, 4} {
		b.Run(fmt.Sprint("others ", others), func(b *testing.B) {
			l := NewLocal()
			p := l.Attach("server:a", nil)
			for range others {
				l.Attach("server:o", nobody{}).Join("ch:x", func(error) {})
			}
			e := &wire.Envelope{Targets: wire.Targets{Channels: []string{"x"}}}
			b.ReportAllocs()
			for b.Loop() {
				_ = p.Publish(e)
			}
		})
	}
}

type nobody struct{}

func (nobody) Receive(*wire.Envelope) {}
