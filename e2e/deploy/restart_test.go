package deploy

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"testing"
	"time"

	"logux-proxy/e2e/fleet"
	"logux-proxy/e2e/history"
)

const grace = time.Second

// Every node is restarted, one after another, while clients are at work. Readiness fails at once, the gossip says that the node drains, its clients are closed
// with 1012, evenly, and it ends well.
func TestRollingRestart(t *testing.T) {
	together(t)
	settings := fleet.Settings{"LOGUX_DRAIN_GRACE": grace.String(), "LOGUX_DRAIN_TIME": of.drain.String()}
	if of.timed { // each node is to close as many
		maps.Copy(settings, fleet.Settings{"LOGUX_REBALANCE": "on", "LOGUX_REBALANCE_RATE": "200", "LOGUX_REBALANCE_DELAY": "3s"})
	}
	f := start(t, 3, of.load, settings)
	f.Crowd.Act(true)
	f.Pass(2 * time.Second)
	for i, n := range f.Nodes {
		others := slices.Delete(slices.Clone(f.Nodes), i, i+1)
		began := since(f)
		at := time.Now()
		n.Term()
		fleet.Await(t, "readiness fails", func() bool { status, _ := n.Get("/readyz"); return status == http.StatusServiceUnavailable })
		f.Crowd.Serve(f.Targets(others...)...)
		for _, other := range others {
			fleet.Await(t, other.Name+" hears that "+n.Name+" drains", func() bool { return drains(other) == 1 })
		}
		n.AwaitEnd()
		took := time.Since(at)
		clients := even(t, f, n.Name, began)
		t.Logf("%s ended after %v, with %d clients", n.Name, took.Round(time.Millisecond), clients)
		if of.timed && took > grace+of.drain+5*time.Second {
			t.Errorf("%s took %v to end, want %v at most", n.Name, took, grace+of.drain+5*time.Second)
		}
		f.AwaitMembers(others...)
		n.Start()
		f.Crowd.Serve(f.Targets(f.Nodes...)...)
		f.AwaitMembers(f.Nodes...)
		if of.timed && !fleet.Within(3*fleet.Patience, func() bool { return inside(f, of.load.Clients/3) }) {
			t.Errorf("after the restart of %s the nodes have %s", n.Name, counts(f))
		}
	}
	v := f.Judge()
	if of.timed && v.Figures.OfflineP99 > 5*time.Second {
		t.Errorf("clients were offline for %v (p99), want 5 s at most", v.Figures.OfflineP99)
	}
}

// since is the time in the history.
func since(f *fleet.Fleet) int64 {
	f.Note("a moment")
	events := f.Record.Events()
	return events[len(events)-1].At
}

// drains is how many nodes n says to drain.
func drains(n *fleet.Node) (count int) {
	var o struct{ Nodes []struct{ Draining bool } }
	_, page := n.Get("/cluster.json")
	if json.Unmarshal([]byte(page), &o) != nil {
		return 0
	}
	for _, node := range o.Nodes {
		if node.Draining {
			count++
		}
	}
	return count
}

// closes are the times at which clients saw their connection to a server closed with 1012, since a moment; "" for all servers.
func closes(f *fleet.Fleet, server string, since int64) (all []time.Duration) {
	for _, e := range f.Record.Events() {
		if e.Kind == history.Disconnected && e.At > since && e.Result == "1012" && (server == "" || e.Node == server) {
			all = append(all, time.Duration(e.At-since)*time.Microsecond)
		}
	}
	return all
}

// even checks that a server that got its signal at began closed all its clients with 1012, and none before an even rate would have come to it. It returns
// how many there were.
func even(t *testing.T, f *fleet.Fleet, server string, began int64) int {
	t.Helper()
	// A client sees the end a little later than the process that caused it.
	fleet.Await(t, "all clients of "+server+" have seen the end", func() bool { return ended(f, server) })
	for _, e := range f.Record.Events() {
		if e.Kind == history.Disconnected && e.At > began && e.Node == server && e.Result != "1012" {
			t.Errorf("%s lost its connection to %s without a close with 1012 (%q)", e.Client, server, e.Result)
		}
	}
	all := closes(f, server, began)
	for i, at := range all {
		if due := grace + time.Duration(i)*of.drain/time.Duration(len(all)); at < due {
			t.Errorf("%s: close %d of %d came after %v, want %v at least", server, i+1, len(all), at, due)
			break
		}
	}
	if of.timed {
		most, rate, pause := within(time.Second, all), float64(len(all))/of.drain.Seconds(), pause(f, began)
		t.Logf("%s: at most %d closes in a second, evenly it would be %.0f; this process saw nothing for %v", server, most, rate, pause.Round(time.Millisecond))
		// What came while this process stood still it sees at once.
		if float64(most) > 1.1*rate*(time.Second+pause).Seconds()+1 {
			t.Errorf("%s: %d closes in one second of %d in %v", server, most, len(all), of.drain)
		}
	}
	return len(all)
}

// pause is the longest time since a moment in which nothing at all happened, to no client and not at the back-end: under such a load it is this process that
// stood still.
func pause(f *fleet.Fleet, since int64) (longest time.Duration) {
	last := since
	for _, e := range f.Record.Events() {
		if e.At > since {
			longest = max(longest, time.Duration(e.At-last)*time.Microsecond)
			last = e.At
		}
	}
	return longest
}

// ended reports whether nobody is connected to a server, by the history.
func ended(f *fleet.Fleet, server string) bool {
	open := make(map[string]bool)
	for _, e := range f.Record.Events() {
		key := fmt.Sprint(e.Client, e.Conn)
		switch {
		case e.Node != server:
		case e.Kind == history.Connected:
			open[key] = true
		case e.Kind == history.Disconnected:
			delete(open, key)
		}
	}
	return len(open) == 0
}

// within is the most that happened within a window.
func within(window time.Duration, all []time.Duration) (most int) {
	for first, last := 0, 0; last < len(all); last++ {
		for all[last]-all[first] >= window {
			first++
		}
		most = max(most, last-first+1)
	}
	return most
}

// A node whose back-end does not answer ends all the same: an action that it could not finish is processed elsewhere.
func TestDrainWithoutTheBackend(t *testing.T) {
	together(t)
	l := of.load
	l.Clients, l.Idle, l.Channels, l.Rate, l.Slow, l.SlowTime = 30, 0, 3, 10, 1000, 8*time.Second
	f := start(t, 3, l, fleet.Settings{"LOGUX_DRAIN_GRACE": "100ms", "LOGUX_DRAIN_TIME": "1s", "LOGUX_ACK_LIMIT": "500ms"})
	f.Crowd.Act(true)
	f.Pass(2 * time.Second)
	f.Crowd.Act(false)
	n := f.Nodes[0]
	open := n.Metric("logux_actions_open")
	n.TakenForDead()
	f.Crowd.Serve(f.Targets(f.Nodes[1:]...)...)
	at := time.Now()
	n.Term()
	n.AwaitEnd()
	t.Logf("%s ended after %v, with %.0f actions open", n.Name, time.Since(at).Round(time.Millisecond), open)
	if open == 0 {
		t.Error("no action was open")
	}
	if of.timed && time.Since(at) > 6100*time.Millisecond {
		t.Errorf("it took %v", time.Since(at))
	}
	f.Judge()
}

// A node ends in time while Redis hangs, and the others have what its clients sent.
func TestDrainWithoutRedis(t *testing.T) {
	together(t)
	redis := fleet.StartRedis(t, "127.0.0.1")
	l := small.load
	f := fleet.New(t, fleet.Options{
		Program: *program, Nodes: 3, Redis: func(int) string { return redis.URL() }, Load: l, Seed: seed,
		Settings: fleet.Settings{"LOGUX_DRAIN_GRACE": "100ms", "LOGUX_DRAIN_TIME": "1s"},
	})
	f.Crowd.Act(true)
	f.Pass(time.Second)
	redis.Stop()
	for _, n := range f.Nodes {
		fleet.Await(t, n.Name+" misses Redis", func() bool { return n.Bus() != "ok" })
	}
	n := f.Nodes[0]
	f.Crowd.Serve(f.Targets(f.Nodes[1:]...)...)
	at := time.Now()
	n.Term()
	n.AwaitEnd()
	n.TakenForDead() // what it left behind about its clients could not be written
	t.Logf("%s ended after %v", n.Name, time.Since(at).Round(time.Millisecond))
	if of.timed && time.Since(at) > 6100*time.Millisecond {
		t.Errorf("it took %v", time.Since(at))
	}
	f.Pass(time.Second)
	redis.Continue()
	f.AwaitMembers(f.Nodes[1:]...)
	f.Judge()
}

// A second signal ends a node that drains for an hour at once.
func TestSecondSignal(t *testing.T) {
	together(t)
	l := of.load
	l.Clients, l.Idle = 100, 100
	f := start(t, 2, l, fleet.Settings{"LOGUX_DRAIN_TIME": "1h"})
	n := f.Nodes[0]
	n.Term()
	fleet.Await(t, "it drains", func() bool { return drains(f.Nodes[1]) == 1 })
	f.Crowd.Serve(f.Targets(f.Nodes[1:]...)...)
	n.Term()
	fleet.Await(t, "it has ended", n.Ended)
	f.AwaitMembers(f.Nodes[1:]...)
	f.AwaitSettled()
}
