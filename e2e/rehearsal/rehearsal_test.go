//go:build rehearsal

package rehearsal

import (
	"flag"
	"fmt"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"logux-proxy/e2e/fleet"
	"logux-proxy/e2e/history"
)

var picture = flag.String("picture", "", "write the timeline as an SVG picture to this file")

// The clients: few at first, then three times as many, then few again.
const (
	few, many                   = 800, 2400
	rises, risen, falls, fallen = 20 * time.Second, 50 * time.Second, 140 * time.Second, 170 * time.Second
	calm                        = 15 * time.Second // at the end, with as few nodes as at first
	patience                    = 8 * time.Minute
	every                       = 5 * time.Second // between two looks of the autoscaler
)

func wanted(at time.Duration) int {
	part := func(from, to time.Duration) float64 { return float64(at-from) / float64(to-from) }
	switch {
	case at < rises:
		return few
	case at < risen:
		return few + int(part(rises, risen)*(many-few))
	case at < falls:
		return many
	case at < fallen:
		return many - int(part(falls, fallen)*(many-few))
	}
	return few
}

// A play is the fleet with what happens to it.
type play struct {
	*fleet.Fleet
	t     *testing.T
	lb    *HAProxy
	began time.Time
	gone  *fleet.Node // that drains

	mu sync.Mutex
	// Guarded by mu.

	there []*fleet.Node
	line  Timeline
}

func (p *play) say(format string, args ...any) {
	e := Event{time.Since(p.began), fmt.Sprintf(format, args...)}
	p.mu.Lock()
	p.line.Events = append(p.line.Events, e)
	p.mu.Unlock()
	p.Note(e.Text)
}

func (p *play) set(nodes ...*fleet.Node) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.there = nodes
	for _, n := range nodes {
		if !slices.Contains(p.line.Nodes, n.Name) {
			p.line.Nodes = append(p.line.Nodes, n.Name)
		}
	}
}

// look takes a sample each second until stop is closed.
func (p *play) look(stop <-chan struct{}) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		p.mu.Lock()
		there := p.there
		p.mu.Unlock()
		at := time.Since(p.began)
		s := Sample{At: at, Wanted: wanted(at), Connected: p.Crowd.Connected(), Nodes: make(map[string]int)}
		for _, n := range there {
			s.Nodes[n.Name] = int(n.Metric("logux_clients"))
		}
		p.mu.Lock()
		p.line.Samples = append(p.line.Samples, s)
		p.mu.Unlock()
		select {
		case <-stop:
			return
		case <-tick.C:
		}
	}
}

// Nodes and clients of a day: from two nodes to five and back. Nothing is lost, and when all five have settled they have about as many clients each.
func TestRehearsal(t *testing.T) {
	dir := t.TempDir()
	program := dir + "/logux-proxy"
	if err := fleet.Build("../..", program, false); err != nil {
		t.Fatal(err)
	}
	redis := fleet.StartRedis(t, "127.0.0.1")
	p := &play{t: t, lb: StartHAProxy(t), began: time.Now()}
	p.Fleet = fleet.New(t, fleet.Options{
		Program: program, Nodes: 2, Redis: func(int) string { return redis.URL() }, Seed: 1,
		Load: fleet.Load{Clients: many, Idle: many - 600, Rate: 100, Channels: 60, Slow: 50, SlowTime: 500 * time.Millisecond},
		Settings: fleet.Settings{
			"LOGUX_DRAIN_GRACE": "2s", "LOGUX_DRAIN_TIME": "10s", "LOGUX_TRUSTED_PROXIES": "127.0.0.1",
			"LOGUX_REBALANCE": "on", "LOGUX_REBALANCE_MIN": "50", "LOGUX_REBALANCE_RATE": "20", "LOGUX_REBALANCE_DELAY": "8s",
		},
		Front: func(f *fleet.Fleet) string {
			f.Crowd.Present(few)
			for _, n := range f.Nodes {
				p.lb.Add(n)
			}
			return p.lb.Addr
		},
	})
	p.began = time.Now()
	p.set(p.Nodes...)
	stop, looked := make(chan struct{}), make(chan struct{})
	go func() { p.look(stop); close(looked) }()
	p.Crowd.Act(true)
	p.run()
	close(stop)
	<-looked
	v := p.Judge()
	t.Logf("\n%s", p.line.String())
	closed := 0
	for _, e := range p.Record.Events() {
		if e.Kind == history.Disconnected && e.Result == "1012" {
			closed++
		}
	}
	t.Logf("%d closes with 1012, by drains and rebalancing", closed)
	p.check()
	if *picture != "" && v.OK() {
		if err := os.WriteFile(*picture, []byte(p.line.SVG("2 nodes to 5 and back: connections by node")), 0o644); err != nil { //nolint:gosec // a picture for everybody
			t.Error(err)
		}
	}
}

// run is the play: it ends some time after all is as it was at first.
func (p *play) run() {
	scaler := Autoscaler{Target: 500, Min: 2, Max: 5, Window: 20 * time.Second, Period: 15 * time.Second, Up: 2, Down: 1}
	tick := time.NewTicker(500 * time.Millisecond)
	defer tick.Stop()
	var looked, asBefore time.Duration
	for range tick.C {
		at := time.Since(p.began)
		p.Crowd.Present(wanted(at))
		if p.gone != nil && p.gone.Ended() {
			p.gone.AwaitEnd() // looks how it ended
			p.say("%s is gone", p.gone.Name)
			p.lb.Remove(p.gone)
			p.Drop(p.gone)
			p.gone = nil
			p.set(p.Nodes...)
		}
		switch {
		case at > patience:
			p.t.Fatalf("the play takes too long:\n%s", p.line.String())
		case at-looked >= every && p.gone == nil:
			looked = at
			p.scale(&scaler)
		}
		if at < fallen || len(p.Nodes) > 2 || p.gone != nil {
			asBefore = at
		} else if at-asBefore > calm {
			return
		}
	}
}

// scale does what the autoscaler says. The last node to come is the first to go.
func (p *play) scale(scaler *Autoscaler) {
	var clients []int
	for _, n := range p.Nodes {
		clients = append(clients, int(n.Metric("logux_clients")))
	}
	switch want := scaler.Step(time.Now(), clients); {
	case want > len(p.Nodes):
		for len(p.Nodes) < want {
			n := p.Add()
			p.lb.Add(n)
			p.set(p.Nodes...)
			p.say("%s joins", n.Name)
		}
		p.Crowd.Serve(p.Targets(p.Nodes...)...)
	case want < len(p.Nodes):
		p.gone = p.Nodes[len(p.Nodes)-1]
		p.Crowd.Serve(p.Targets(p.Nodes[:len(p.Nodes)-1]...)...)
		p.say("%s drains", p.gone.Name)
		p.gone.Term()
	}
}

// check looks at the timeline: there were five nodes, they were even before the clients went, and two remain.
func (p *play) check() {
	most := 0
	var before Sample
	for _, s := range p.line.Samples {
		most = max(most, len(s.Nodes))
		if s.At < falls {
			before = s
		}
	}
	if most != 5 || len(p.Nodes) != 2 {
		p.t.Errorf("there were %d nodes at most and %d at last, want 5 and 2", most, len(p.Nodes))
	}
	for name, n := range before.Nodes {
		if mean := many / len(before.Nodes); n > mean*11/10 || n < mean*9/10 {
			p.t.Errorf("%s had %d clients before they went, want %d and ten per cent more or less", name, n, mean)
		}
	}
}
