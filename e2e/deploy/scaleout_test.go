package deploy

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"logux-proxy/e2e/fleet"
)

// Two nodes join three that have all clients. The three let clients go, at a bounded rate and not before things have settled, until all have about as many.
func TestScaleOut(t *testing.T) {
	together(t)
	f := start(t, 3, of.load, of.settings)
	f.Crowd.Act(true)
	f.Pass(time.Second)
	joined := since(f)
	began := time.Now()
	f.Add()
	f.Add()
	f.Crowd.Serve(f.Targets(f.Nodes...)...)
	f.AwaitMembers(f.Nodes...)
	fleet.Await(t, "somebody goes", func() bool { return len(closes(f, "", joined)) > 0 })
	mean := of.load.Clients / 5
	patience := 3 * fleet.Patience
	if of.timed {
		patience = 2*time.Minute - time.Since(began)
	}
	if !fleet.Within(patience, func() bool { return inside(f, mean) }) {
		t.Errorf("the nodes have %s", counts(f))
	}
	t.Logf("even after %v: %s", time.Since(began).Round(time.Second), counts(f))
	f.Pass(2 * time.Second)
	all := closes(f, "", joined)
	if all[0] < of.delay {
		t.Errorf("a client was let go %v after the first of the new nodes was started", all[0])
	}
	// Behind a choice at random two in five find one of the new nodes.
	if most := 3 * (of.load.Clients/3 - mean) * 5; len(all) > most {
		t.Errorf("%d clients were let go, want %d at most", len(all), most)
	}
	t.Logf("%d clients were let go", len(all))
	if of.timed {
		for _, n := range f.Nodes {
			// Clients see some closes together that were not, when the machine is busy.
			all := closes(f, n.Name, joined)
			if most := within(5*time.Second, all); most > 5*of.rate*12/10 {
				t.Errorf("%s let %d clients go in five seconds", n.Name, most)
			}
			t.Logf("%s let at most %d clients go in a second, and %d in five", n.Name, within(time.Second, all), within(5*time.Second, all))
		}
	}
	v := f.Judge()
	if of.timed && v.Figures.OfflineP99 > 5*time.Second {
		t.Errorf("clients were offline for %v (p99), want 5 s at most", v.Figures.OfflineP99)
	}
}

// inside reports whether no node has more than ten per cent above the mean, and none much less: of few clients chance makes a larger part.
func inside(f *fleet.Fleet, mean int) bool {
	least := mean * 7 / 10
	if of.timed {
		least = mean * 9 / 10
	}
	for _, n := range f.Nodes {
		if c := int(n.Metric("logux_clients")); c > mean*11/10+1 || c < least {
			return false
		}
	}
	return true
}

// counts tells how many clients each node has.
func counts(f *fleet.Fleet) string {
	var text []string
	for _, n := range f.Nodes {
		text = append(text, fmt.Sprintf("%s %.0f", n.Name, n.Metric("logux_clients")))
	}
	return strings.Join(text, ", ")
}
