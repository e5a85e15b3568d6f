package cluster

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"logux-proxy/wire"
)

// commandCalls returns how often a Redis ran a command.
func commandCalls(p *redisProcess, command string) int {
	p.t.Helper()
	info := fmt.Sprint(p.do("info", "commandstats"))
	_, rest, ok := strings.Cut(info, "cmdstat_"+command+":calls=")
	if !ok {
		return 0
	}
	n := 0
	if _, err := fmt.Sscan(strings.Split(rest, ",")[0], &n); err != nil {
		p.t.Fatal(err)
	}
	return n
}

// subscribed returns the channels that a Redis has subscribers on, but those of heartbeats.
func subscribed(p *redisProcess) (names []string) {
	p.t.Helper()
	for _, v := range p.do("pubsub", "channels").([]any) {
		if name := v.(string); name != "logux:hb" {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// A join is done when Redis has confirmed the subscription, not before.
func TestBusJoinIsConfirmed(t *testing.T) {
	t.Parallel()
	r := startRedis(t)
	p := startProxy(t, r.addr)
	s := startServer(t, "redis://"+p.addr, nil, "server:a", func(c *BusConfig) { c.Heartbeat = time.Minute })
	waitState(t, BusOK, s)
	goOn := p.stall()
	defer goOn()
	var done atomic.Int32
	for i := range 3 {
		topic := wire.ChannelTopic(fmt.Sprint("x", i))
		s.bus.Join(topic, func(error) { done.Add(1) })
		eventually(t, "Redis has it", func() bool { return slices.Contains(subscribed(r), "logux:"+string(topic)) })
	}
	if n := done.Load(); n > 0 {
		t.Errorf("%d joins were done before the confirmation came", n)
	}
	goOn()
	eventually(t, "all joins are done", func() bool { return done.Load() == 3 })
}

// "Unsubscribing lingers some seconds so that a page reload costs nothing."
func TestBusLingers(t *testing.T) {
	t.Parallel()
	r := startRedis(t)
	s := startServer(t, "redis://"+r.addr, nil, "server:a", func(c *BusConfig) { c.Linger = time.Hour })
	waitState(t, BusOK, s)
	s.join("x")
	before := commandCalls(r, "subscribe")
	for range 100 {
		s.bus.Leave(wire.ChannelTopic("x"))
		s.join("x")
	}
	if n := commandCalls(r, "subscribe"); n != before {
		t.Errorf("%d times subscribed", n-before)
	}
	s.bus.Leave(wire.ChannelTopic("x"))
	// Beyond a bound nothing lingers.
	for i := range maxLingering + 10 {
		topic := wire.ChannelTopic(fmt.Sprint("y", i))
		s.bus.Join(topic, func(error) {})
		s.bus.Leave(topic)
	}
	eventually(t, "the first to leave is let go", func() bool {
		return !slices.Contains(subscribed(r), "logux:ch:x") && s.bus.Stats().Topics <= maxLingering
	})
}

// Whatever the order of joins and leaves, and while connections break, in the end Redis has what is joined.
func TestBusTopicsAgainstAModel(t *testing.T) {
	t.Parallel()
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := startRedis(t)
	s := startServer(t, "redis://"+r.addr, nil, "server:a", func(c *BusConfig) { c.Linger = time.Millisecond })
	waitState(t, BusOK, s)
	const workers, names, steps = 4, 12, 20_000
	client := r.client()
	defer func() { _ = client.Close() }()
	var joins [names]int
	var mu sync.Mutex
	var running, waiting sync.WaitGroup
	for w := range workers {
		random := rand.New(rand.NewPCG(seed, uint64(w)))
		running.Go(func() {
			var own [names]int
			for i := range steps {
				n := random.IntN(names)
				topic := wire.ChannelTopic(fmt.Sprint(n))
				if own[n] > 0 && random.IntN(2) == 0 {
					s.bus.Leave(topic)
					own[n]--
					continue
				}
				waiting.Add(1)
				s.bus.Join(topic, func(err error) {
					if err != nil {
						t.Errorf("joining: %v", err)
					}
					waiting.Done()
				})
				own[n]++
				if w == 0 && i%2_000 == 500 {
					_ = client.Do(context.Background(), "client", "kill", "type", "pubsub").Err()
				}
			}
			for n := range own { // most are let go
				for own[n] > 0 && n%3 != 0 {
					s.bus.Leave(wire.ChannelTopic(fmt.Sprint(n)))
					own[n]--
				}
			}
			mu.Lock()
			defer mu.Unlock()
			for n := range own {
				joins[n] += own[n]
			}
		})
	}
	running.Wait()
	waiting.Wait()
	var want []string
	total := 0
	for n, count := range joins {
		if total += count; count > 0 {
			want = append(want, fmt.Sprint("logux:ch:", n))
		}
	}
	slices.Sort(want)
	eventually(t, fmt.Sprintf("Redis has %v", want), func() bool { return slices.Equal(subscribed(r), want) })
	eventually(t, "the bus counts them", func() bool {
		stats := s.bus.Stats()
		return stats.Joins == int64(total) && stats.Topics == int64(len(want))
	})
}

// Very many topics are subscribed again after a break, in chunks, while heartbeats and envelopes go on.
func TestBusSubscribesManyAgain(t *testing.T) {
	t.Parallel()
	r := startRedis(t)
	servers, _ := startServers(t, "redis://"+r.addr, 2, func(c *BusConfig) { c.Heartbeat = time.Second })
	a, b := servers[0], servers[1]
	const many = 50_000
	var done sync.WaitGroup
	done.Add(many)
	for i := range many {
		a.bus.Join(wire.UserTopic(wire.UserID(fmt.Sprint(i))), func(error) { done.Done() })
	}
	done.Wait()
	a.join("x")
	commands := commandCalls(r, "subscribe")
	before := a.bus.Stats().Reconnects
	r.do("client", "kill", "type", "pubsub")
	eventually(t, "the break is noticed", func() bool { return a.bus.Stats().Reconnects > before })
	b.publish("x")
	waitState(t, BusOK, a, b)
	eventually(t, "what was published meanwhile comes", func() bool { return len(a.from("server:b")) == 1 })
	if n := len(subscribed(r)); n != many+1 {
		t.Errorf("%d topics are subscribed, want %d", n, many+1)
	}
	if n := commandCalls(r, "subscribe") - commands; n > 2*many/subscribeChunk {
		t.Errorf("%d commands for %d topics", n, many)
	}
	if n := a.bus.Stats().Reconnects; n != before+1 {
		t.Errorf("%d connections broke", n-before)
	}
}
