package faults

import (
	"testing"
	"time"

	"logux-proxy/e2e/fleet"
)

// In a rolling deploy nodes of two releases stand side by side. One here writes envelopes of a later version, with a field that the others do not know.
func TestTwoVersionsOfEnvelopes(t *testing.T) {
	t.Parallel()
	later := fleet.MustBuild(t, root, raceDetector, fleet.Change{
		File: "wire/envelopecode.go", Old: "const EnvelopeVersion = 1\n", New: "const EnvelopeVersion = 2\n",
	}, fleet.Change{
		File: "wire/envelopecode.go",
		Old:  "\tif e.Author != \"\" {\n\t\tdst = appendField(dst, fieldAuthor, e.Author)\n\t}\n",
		New:  "\tif e.Author != \"\" {\n\t\tdst = appendField(dst, fieldAuthor, e.Author)\n\t}\n\tdst = appendField(dst, 250, \"of a later release\")\n",
	})
	_, redis := oneRedis(t)
	l := load
	l.Churn = 3 * time.Second
	f := start(t, fleet.Options{Nodes: 3, Programs: map[int]string{1: later}, Redis: redis, Load: l})
	f.Pass(steady())
	f.Judge()
}
