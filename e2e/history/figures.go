package history

import (
	"fmt"
	"slices"
	"time"
)

// Figures are what a history counts, whatever the verdict.
type Figures struct {
	Actions     int // sent by clients
	Expected    int // deliveries that had to come, or were excused
	Excused     int // of them: under way when their connection ended
	Received    int // deliveries
	Connections int

	RepeatedOutcomes int // outcomes that came again on a later connection
	CommandsAgain    int // commands that the back-end got again, which C2 allows
	ReceivedAgain    int // deliveries of such

	// OutcomeMedian and the others are times from the sending to the outcome, from the approval to the delivery, and
	// from the end of a connection to the acceptance of the next.
	OutcomeMedian, OutcomeP99, OutcomeMax    time.Duration
	DeliveryMedian, DeliveryP99, DeliveryMax time.Duration
	OfflineMedian, OfflineP99, OfflineMax    time.Duration

	outcomes, deliveries, offline []time.Duration
}

func (f *Figures) latency(list *[]time.Duration, from, to int64) {
	*list = append(*list, time.Duration(to-from)*time.Microsecond)
}

func (f *Figures) connected(e *Event, before *conn) {
	f.Connections++
	if before != nil && before.end != 0 {
		f.latency(&f.offline, before.end, e.At)
	}
}

func (f *Figures) finish() {
	f.OutcomeMedian, f.OutcomeP99, f.OutcomeMax = quantiles(f.outcomes)
	f.DeliveryMedian, f.DeliveryP99, f.DeliveryMax = quantiles(f.deliveries)
	f.OfflineMedian, f.OfflineP99, f.OfflineMax = quantiles(f.offline)
}

func quantiles(all []time.Duration) (median, p99, most time.Duration) {
	if len(all) == 0 {
		return 0, 0, 0
	}
	slices.Sort(all)
	return all[len(all)/2], all[len(all)*99/100], all[len(all)-1]
}

func (f *Figures) String() string {
	round := func(d time.Duration) time.Duration { return d.Round(100 * time.Microsecond) }
	return fmt.Sprintf("%d actions, %d of %d deliveries (%d excused), %d connections; again: %d outcomes, %d commands, %d deliveries\n"+
		"p50, p99, most: outcome %v %v %v; delivery %v %v %v; offline %v %v %v",
		f.Actions, f.Received, f.Expected, f.Excused, f.Connections, f.RepeatedOutcomes, f.CommandsAgain, f.ReceivedAgain,
		round(f.OutcomeMedian), round(f.OutcomeP99), round(f.OutcomeMax),
		round(f.DeliveryMedian), round(f.DeliveryP99), round(f.DeliveryMax),
		round(f.OfflineMedian), round(f.OfflineP99), round(f.OfflineMax))
}
