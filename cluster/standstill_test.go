package cluster

import (
	"testing"
	"time"

	"go.uber.org/zap"
)

// After a standstill what is about to happen waits until all that others published has come, for ten heartbeats at most.
func TestCaughtUp(t *testing.T) {
	for name, c := range map[string]struct {
		rest  time.Duration // of the standstill
		waits bool
		then  func(b *Bus, n *redisNode)
		want  bool
	}{
		"a moment":            {time.Second, false, func(*Bus, *redisNode) {}, true},
		"nothing has come":    {time.Minute, true, func(*Bus, *redisNode) {}, false},
		"an old heartbeat":    {time.Minute, true, func(_ *Bus, n *redisNode) { n.echoed.Store(time.Now().UnixMilli() - 1) }, false},
		"a heartbeat":         {time.Minute, true, func(_ *Bus, n *redisNode) { n.echoed.Store(time.Now().UnixMilli()) }, true},
		"Redis is away":       {time.Minute, true, func(b *Bus, n *redisNode) { n.echoed.Store(time.Now().UnixMilli()); n.unsettle() }, false},
		"something is healed": {time.Minute, true, func(b *Bus, n *redisNode) { n.echoed.Store(time.Now().UnixMilli()); b.stats.healing.Store(1) }, false},
		"for too long": {time.Minute, true, func(b *Bus, _ *redisNode) {
			for range 11 {
				<-time.After(b.cfg.Heartbeat)
				b.noticeStandstill(time.Now())
				b.reviewStandstill(time.Now())
			}
		}, true},
		"the bus ends": {time.Minute, true, func(b *Bus, _ *redisNode) { b.stopped.Store(true); b.letGo() }, true},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				r, err := ParseRedis("redis://one")
				if err != nil {
					t.Fatal(err)
				}
				b, err := NewBus(BusConfig{Redis: r, Server: "server:a", Receiver: &receivedSeqs{}, Log: zap.NewNop()})
				if err != nil {
					t.Fatal(err)
				}
				n := b.layout.Load().nodes[0]
				n.mu.settled = true
				called := false
				if b.CaughtUp(func() { called = true }); !called {
					t.Fatal("a bus that does not run yet has something to catch up with")
				}
				review := func() {
					b.noticeStandstill(time.Now())
					b.reviewStandstill(time.Now())
				}
				review()
				<-time.After(c.rest)
				called = false
				if b.CaughtUp(func() { called = true }); called == c.waits {
					t.Errorf("it is done: %v", called)
				}
				review()
				c.then(b, n)
				if review(); called != c.want {
					t.Errorf("it is done: %v, want %v", called, c.want)
				}
				later := false
				if b.CaughtUp(func() { later = true }); later != c.want {
					t.Errorf("what comes later is done: %v, want %v", later, c.want)
				}
			})
		})
	}
}

// What came while a server stood still is not too old when it wakes, and is a while later.
func TestNothingIsSilentAfterAStandstill(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r, err := ParseRedis("redis://one")
		if err != nil {
			t.Fatal(err)
		}
		b, err := NewBus(BusConfig{Redis: r, Server: "server:a", Receiver: &receivedSeqs{}})
		if err != nil {
			t.Fatal(err)
		}
		silence := b.cfg.silence()
		b.noticeStandstill(time.Now())
		heard := time.Now()
		<-time.After(silence)
		b.noticeStandstill(time.Now())
		<-time.After(1)
		if !b.silent(heard, time.Now()) {
			t.Error("it was silent while this server lived")
		}
		<-time.After(silence)
		b.noticeStandstill(time.Now())
		if b.silent(heard, time.Now()) {
			t.Error("it may have said something while this server stood still")
		}
		<-time.After(silence + 1)
		if !b.silent(heard, time.Now()) {
			t.Error("it is silent since this server woke")
		}
	})
}
