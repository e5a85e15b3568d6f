package faults

import (
	"testing"
	"time"

	"logux-proxy/e2e/fleet"
)

// Programs that are broken on purpose, and the rule that the judge must find broken. Each is built from the sources with one text replaced; a text that is not
// there any more fails the test.
func TestBrokenProgramsAreFound(t *testing.T) {
	t.Parallel()
	for name, broken := range map[string]struct {
		changes []fleet.Change
		rule    string
		kill    bool // it shows only when a node dies
	}{
		"drops one envelope in fifty": {
			changes: []fleet.Change{{
				File: "gateway/router.go",
				Old:  "func (g *Gateway) receiveAction(e *wire.Envelope) {\n",
				New:  "func (g *Gateway) receiveAction(e *wire.Envelope) {\n\tif e.Seq%50 == 0 {\n\t\treturn\n\t}\n",
			}},
			rule: "C3",
		},
		"doubles one envelope in fifty": {
			changes: []fleet.Change{{
				File: "gateway/elsewhere.go",
				Old:  "\t\tg.receiveAction(e)\n",
				New:  "\t\tg.receiveAction(e)\n\t\tif e.Seq%50 == 0 {\n\t\t\tg.receiveAction(e)\n\t\t}\n",
			}},
			rule: "C3",
		},
		// The next of the same author: two in a row are seldom of one author to one channel, and the order of others is not promised.
		"swaps one envelope in ten with its author's next": {
			changes: []fleet.Change{{
				File: "gateway/elsewhere.go",
				Old:  "\t\tg.receiveAction(e)\n",
				New: "\t\tif e.Seq%10 == 0 {\n\t\t\tif _, full := heldBack.LoadOrStore(e.Author, e); !full {\n\t\t\t\treturn\n\t\t\t}\n\t\t}\n" +
					"\t\tg.receiveAction(e)\n\t\tif old, ok := heldBack.LoadAndDelete(e.Author); ok {\n\t\t\tg.receiveAction(old.(*wire.Envelope))\n\t\t}\n",
			}, {
				File: "gateway/elsewhere.go",
				Old:  "import (\n",
				New:  "import (\n\t\"sync\"\n",
			}, {
				File: "gateway/elsewhere.go",
				Old:  "func (g *Gateway) Receive(e *wire.Envelope) {\n",
				New:  "var heldBack sync.Map // wire.ClientID to *wire.Envelope\n\nfunc (g *Gateway) Receive(e *wire.Envelope) {\n",
			}},
			rule: "C4",
		},
		"acknowledges early": {
			changes: []fleet.Change{{
				File: "gateway/claims.go",
				Old:  "\t\th.g.cfg.Handovers.Claim(c, func(err error) { h.claimEnded(p, j, c.ID, err) })\n",
				New:  "\t\th.acknowledge(p, c.ID)\n",
			}},
			rule: "C1", kill: true,
		},
		"takes nothing over": {
			changes: []fleet.Change{{File: "cluster/takeover.go", Old: "\t\th.cfg.Orphan(claim, nil)\n", New: ""}},
			rule:    "C1", kill: true,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := fleet.Options{Program: fleet.MustBuild(t, root, false, broken.changes...), Nodes: 3}
			if broken.kill {
				o = claims(o)
			}
			_, o.Redis = oneRedis(t)
			// Few authors and channels: what is swapped is often of one author to one channel.
			o.Load.Clients, o.Load.Channels, o.Load.Rate = 20, 2, 200
			f := start(t, o)
			f.Pass(3 * time.Second)
			wait := 10 * time.Second
			if broken.kill {
				wait = 30 * time.Second // twice the time in which what is acknowledged is taken over
				f.Nodes[f.Random.IntN(3)].Kill()
			}
			v := f.Verdict(wait)
			if v.Counts[broken.rule] == 0 {
				t.Errorf("%s is not found broken: %v", broken.rule, v)
			} else {
				t.Log(v.Counts)
			}
		})
	}
}
