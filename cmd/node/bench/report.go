package bench

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"logux-proxy/cmd/node/bench/latency"
)

// A Report is what came of a run. Its JSON is what --json prints: fields are added, not renamed.
type Report struct {
	Server      string           `json:"server"`
	Protocol    int              `json:"protocol"`    // what the server answered with
	Interrupted bool             `json:"interrupted"` // it ended before its time
	ConnectS    float64          `json:"connectSeconds"`
	LoadS       float64          `json:"loadSeconds"`
	Clients     ClientFigures    `json:"clients"`
	Actions     ActionFigures    `json:"actions"`
	Deliveries  DeliveryFigures  `json:"deliveries"`
	Latency     LatencyFigures   `json:"latencyMs"`
	LateMs      float64          `json:"lateMs"`     // that an action was sent after it was due, at most
	ErrorCount  int64            `json:"errorCount"` // the sum of Errors
	Errors      map[string]int64 `json:"errors"`
	Failed      []string         `json:"failed"` // bounds that do not hold, in words
}

// ClientFigures are about clients and their connections.
type ClientFigures struct {
	Asked      int   `json:"asked"`
	Connected  int   `json:"connected"` // and subscribed, at least once
	Left       int   `json:"left"`      // at the end
	Lost       int64 `json:"lostConnections"`
	Reconnects int64 `json:"reconnects"`
}

// ActionFigures are about what the clients sent.
type ActionFigures struct {
	Sent      int64   `json:"sent"`
	PerSecond float64 `json:"perSecond"`
	Processed int64   `json:"processed"`
	Undone    int64   `json:"undone"`
	Open      int64   `json:"withoutOutcome"`
	Unsent    int64   `json:"notSent"`
}

// DeliveryFigures are about what the clients got of each other.
type DeliveryFigures struct {
	Received  int64   `json:"received"`
	PerSecond float64 `json:"perSecond"`
	Doubled   int64   `json:"doubled"`
	Lost      *int64  `json:"lost"` // nil when nobody said who has to get what
}

// LatencyFigures are times in milliseconds.
type LatencyFigures struct {
	Connect   Latency `json:"connect"`   // from the first packet to connected
	Subscribe Latency `json:"subscribe"` // of one channel
	Outcome   Latency `json:"outcome"`   // of an action: from when it was due
	Delivery  Latency `json:"delivery"`  // to another client: from when it was due
}

// A Latency is a histogram in a few numbers, times in milliseconds.
type Latency struct {
	Count int64   `json:"count"`
	P50   float64 `json:"p50"`
	P90   float64 `json:"p90"`
	P99   float64 `json:"p99"`
	Max   float64 `json:"max"`
}

func latencyOf(h *latency.Histogram) Latency {
	return Latency{
		Count: h.N, P50: milliseconds(h.Percentile(50)), P90: milliseconds(h.Percentile(90)), P99: milliseconds(h.Percentile(99)),
		Max: milliseconds(time.Duration(h.Max)),
	}
}

func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// report is what the book says. The times are how long connecting and the load took, in ns.
func (l *load) report(interrupted bool, connecting, acting int64) *Report {
	b := l.book
	b.mu.Lock()
	defer b.mu.Unlock()
	r := &Report{
		Server: l.config.URL.Redacted(), Protocol: b.protocol, Interrupted: interrupted,
		ConnectS: seconds(connecting), LoadS: seconds(acting),
		Clients: ClientFigures{Asked: len(l.clients), Connected: b.started, Left: b.ready, Lost: b.lost, Reconnects: b.reconnects},
		Actions: ActionFigures{
			Sent: int64(len(b.actions)) - 1, Processed: b.processed, Undone: b.undone, Open: b.unsettled, Unsent: b.unsent,
		},
		Deliveries: DeliveryFigures{Received: b.delivered, Doubled: b.doubled},
		Latency: LatencyFigures{
			Connect: latencyOf(&b.connect), Subscribe: latencyOf(&b.subscribe), Outcome: latencyOf(&b.outcome), Delivery: latencyOf(&b.delivery),
		},
		LateMs: milliseconds(time.Duration(b.late)), Errors: maps.Clone(b.faults), Failed: []string{},
	}
	if l.config.FanOut {
		r.Deliveries.Lost = &b.missing
	}
	if r.LoadS > 0 {
		r.Actions.PerSecond = float64(r.Actions.Sent) / r.LoadS
		r.Deliveries.PerSecond = float64(b.delivered) / r.LoadS
	}
	for _, n := range r.Errors {
		r.ErrorCount += n
	}
	if never := r.Clients.Asked - r.Clients.Connected; never > 0 && !interrupted {
		r.Errors["never connected"] = int64(never)
		r.ErrorCount += int64(never)
	}
	return r
}

func seconds(nanoseconds int64) float64 { return time.Duration(nanoseconds).Seconds() }

// Bounds are what a run has to keep to be a success. A time of 0 is none.
type Bounds struct {
	Errors     int64
	ConnectP99 time.Duration
	P99        time.Duration // of outcomes and of deliveries
}

// Judge writes down which bounds do not hold, and whether none is broken.
func (r *Report) Judge(b Bounds) bool {
	if r.Interrupted {
		r.Failed = append(r.Failed, "it was interrupted")
	}
	if r.ErrorCount > b.Errors {
		r.Failed = append(r.Failed, fmt.Sprintf("errors are %d, and %d are allowed (--max-errors)", r.ErrorCount, b.Errors))
	}
	for _, x := range []struct {
		what, flag string
		l          *Latency
		most       time.Duration
	}{
		{"connecting", "--max-connect-p99", &r.Latency.Connect, b.ConnectP99},
		{"outcomes", "--max-p99", &r.Latency.Outcome, b.P99},
		{"deliveries", "--max-p99", &r.Latency.Delivery, b.P99},
	} {
		if most := milliseconds(x.most); x.most > 0 && x.l.P99 > most {
			r.Failed = append(r.Failed, fmt.Sprintf("the p99 of %s is %s, and %s is allowed (%s)", x.what, inMs(x.l.P99), inMs(most), x.flag))
		}
	}
	if b.P99 > 0 && r.Latency.Outcome.Count == 0 {
		r.Failed = append(r.Failed, "no action got an outcome whose time could be judged (--max-p99)")
	}
	return len(r.Failed) == 0
}

// inMs is a time for people.
func inMs(ms float64) string {
	switch {
	case ms >= 10_000:
		return fmt.Sprintf("%.1fs", ms/1000)
	case ms >= 100:
		return fmt.Sprintf("%.0fms", ms)
	case ms >= 10:
		return fmt.Sprintf("%.1fms", ms)
	}
	return fmt.Sprintf("%.2fms", ms)
}

// lateMs is when an action was sent late enough to say so.
const lateMs = 50

// Write prints the report for a terminal.
func (r *Report) Write(out io.Writer) error {
	var text strings.Builder
	fmt.Fprintf(&text, "%s, protocol %d: connected in %.1fs, under load for %.1fs\n\n", short(r.Server), r.Protocol, r.ConnectS, r.LoadS)
	fmt.Fprintf(&text, "clients     %d of %d connected, %d at the end; connections lost: %d, reconnects: %d\n",
		r.Clients.Connected, r.Clients.Asked, r.Clients.Left, r.Clients.Lost, r.Clients.Reconnects)
	if a := &r.Actions; a.Sent+a.Unsent > 0 {
		fmt.Fprintf(&text, "actions     %d sent (%.0f/s): %d processed, %d undone, %d without an outcome\n", a.Sent, a.PerSecond, a.Processed, a.Undone, a.Open)
		d := &r.Deliveries
		fmt.Fprintf(&text, "deliveries  %d (%.0f/s), %d twice", d.Received, d.PerSecond, d.Doubled)
		if d.Lost != nil {
			fmt.Fprintf(&text, ", %d lost", *d.Lost)
		}
		text.WriteString("\n")
	}
	if err := r.writeLatencies(&text); err != nil {
		return err
	}
	if r.LateMs > lateMs {
		fmt.Fprintf(&text, "\nActions were sent up to %s after they were due: this machine, or a server that does not read, could not keep up. The times of outcomes and deliveries hold that delay.\n", inMs(r.LateMs))
	}
	if len(r.Errors) > 0 {
		text.WriteString("\nerrors\n")
	}
	kinds := slices.SortedFunc(maps.Keys(r.Errors), func(a, b string) int {
		return cmp.Or(cmp.Compare(r.Errors[b], r.Errors[a]), strings.Compare(a, b))
	})
	for _, kind := range kinds {
		fmt.Fprintf(&text, "%8d  %s\n", r.Errors[kind], kind)
	}
	_, err := io.WriteString(out, text.String())
	return err
}

func (r *Report) writeLatencies(text *strings.Builder) error {
	table := tabwriter.NewWriter(text, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprint(text, "\n")
	fmt.Fprintln(table, "time of\tcount\tp50\tp90\tp99\tmax\t") //nolint:errcheck // it cannot fail
	for _, row := range []struct {
		name string
		l    *Latency
	}{
		{"connect", &r.Latency.Connect}, {"subscribe", &r.Latency.Subscribe}, {"outcome", &r.Latency.Outcome}, {"delivery", &r.Latency.Delivery},
	} {
		if row.l.Count > 0 {
			fmt.Fprintf(table, "%s\t%d\t%s\t%s\t%s\t%s\t\n", row.name, row.l.Count, inMs(row.l.P50), inMs(row.l.P90), inMs(row.l.P99), inMs(row.l.Max)) //nolint:errcheck // it cannot fail
		}
	}
	return table.Flush()
}
