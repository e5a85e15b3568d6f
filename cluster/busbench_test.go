package cluster

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"logux-proxy/wire"
)

// A tally is a receiver that only counts.
type tally struct{ n atomic.Int64 }

// Receive implements Receiver.
func (c *tally) Receive(*wire.Envelope) { c.n.Add(1) }

// Gap implements BusReceiver.
func (c *tally) Gap() {}

// BenchmarkBus publishes from one server to others, all in this process, with a Redis on the same machine.
func BenchmarkBus(b *testing.B) {
	for _, others := range []int{1, 3} {
		b.Run(fmt.Sprint("others ", others), func(b *testing.B) { benchmarkBus(b, others) })
	}
}

func benchmarkBus(b *testing.B, others int) {
	b.Helper()
	r := startRedis(b)
	parsed, err := ParseRedis("redis://" + r.addr)
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(b.Context())
	defer cancel()
	var buses []*Bus
	counts := make([]*tally, others+1)
	for i := range counts {
		counts[i] = &tally{}
		bus, err := NewBus(BusConfig{Redis: parsed, Server: wire.NodeID(fmt.Sprint("server:", i)), Receiver: counts[i]})
		if err != nil {
			b.Fatal(err)
		}
		buses = append(buses, bus)
		done := make(chan struct{})
		go func() {
			defer close(done)
			bus.Run(ctx)
		}()
		defer func() { cancel(); <-done }()
		for bus.Stats().State != BusOK {
			<-time.After(time.Millisecond)
		}
		joined := make(chan struct{})
		bus.Join("ch:x", func(error) { close(joined) })
		<-joined
	}
	e := &wire.Envelope{
		Action:  &wire.Action{ID: "1 38:a:b 0", Body: wire.RawJSON(`{"type":"a","text":"` + strings.Repeat("x", 100) + `"}`), Type: "a"},
		Targets: wire.Targets{Channels: []string{"x"}},
	}
	b.ReportAllocs()
	n := int64(0)
	for b.Loop() {
		if err := buses[0].Publish(e); err != nil {
			b.Fatal(err)
		}
		if n++; n%64 == 0 { // not further ahead than others follow
			for counts[1].n.Load() < n-10_000 {
				<-time.After(100 * time.Microsecond)
			}
		}
	}
	for _, c := range counts[1:] {
		for c.n.Load() < n {
			<-time.After(time.Millisecond)
		}
	}
}
