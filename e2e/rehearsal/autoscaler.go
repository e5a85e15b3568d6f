package rehearsal

import (
	"math"
	"time"
)

// An Autoscaler decides as a HorizontalPodAutoscaler does: by the mean of a metric over the nodes that are ready, with a tolerance of ten per cent, a
// window over which the highest recommendation counts before nodes go, and so many nodes a period at most.
type Autoscaler struct {
	Target   int // of the metric, for each node
	Min, Max int // nodes

	Window   time.Duration // of stabilization before nodes go
	Period   time.Duration
	Up, Down int // nodes a period

	recommended []recommendation
	changed     time.Time
}

type recommendation struct {
	at    time.Time
	nodes int
}

const tolerance = 0.1

// Step returns how many nodes there should be, when the ready ones have these values of the metric.
func (a *Autoscaler) Step(now time.Time, values []int) int {
	current, sum := len(values), 0
	for _, v := range values {
		sum += v
	}
	wanted := current
	if ratio := float64(sum) / float64(max(current, 1)) / float64(a.Target); math.Abs(ratio-1) > tolerance {
		wanted = int(math.Ceil(float64(sum) / float64(a.Target)))
	}
	wanted = min(max(wanted, a.Min), a.Max)
	a.recommended = append(a.recommended, recommendation{now, wanted})
	for now.Sub(a.recommended[0].at) > a.Window {
		a.recommended = a.recommended[1:]
	}
	if wanted < current {
		for _, r := range a.recommended {
			wanted = max(wanted, r.nodes)
		}
		wanted = min(wanted, current)
	}
	if wanted == current || now.Sub(a.changed) < a.Period {
		return current
	}
	a.changed = now
	return min(max(wanted, current-a.Down), current+a.Up)
}
