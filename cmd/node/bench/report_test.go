package bench

import (
	"encoding/json"
	"strings"
	"testing"
	"time"
)

func sample() *Report {
	lost := int64(3)
	return &Report{
		Server: "ws://127.0.0.1:31337", Protocol: 5, ConnectS: 1, LoadS: 10,
		Clients:    ClientFigures{Asked: 10, Connected: 9, Left: 8, Lost: 2, Reconnects: 1},
		Actions:    ActionFigures{Sent: 100, PerSecond: 10, Processed: 95, Undone: 4, Open: 1},
		Deliveries: DeliveryFigures{Received: 800, PerSecond: 80, Doubled: 2, Lost: &lost},
		Latency: LatencyFigures{
			Connect: Latency{10, 1, 2, 3, 4}, Outcome: Latency{99, 5, 6, 70, 800}, Delivery: Latency{800, 1, 2, 90, 12345},
		},
		LateMs: 60, ErrorCount: 9, Errors: map[string]int64{"undone: denied": 4, "not delivered": 3, "delivered twice": 2},
	}
}

func TestJudge(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(*Report)
		bounds Bounds
		failed []string
	}{
		{"within all bounds", nil, Bounds{9, 3 * time.Millisecond, 90 * time.Millisecond}, nil},
		{"too many errors", nil, Bounds{Errors: 8}, []string{"errors are 9, and 8 are allowed (--max-errors)"}},
		{"slow outcomes and deliveries", nil, Bounds{9, 0, 69 * time.Millisecond}, []string{"outcomes is 70.0ms", "deliveries is 90.0ms"}},
		{"slow deliveries", nil, Bounds{9, 0, 89 * time.Millisecond}, []string{"the p99 of deliveries is 90.0ms, and 89.0ms is allowed (--max-p99)"}},
		{"slow connects", nil, Bounds{9, 2 * time.Millisecond, 0}, []string{"connecting is 3.00ms, and 2.00ms is allowed (--max-connect-p99)"}},
		{"interrupted", func(r *Report) { r.Interrupted = true }, Bounds{Errors: 9}, []string{"interrupted"}},
		{"nothing to judge", func(r *Report) { r.Latency = LatencyFigures{} }, Bounds{9, 0, time.Second}, []string{"no action got an outcome"}},
	} {
		r := sample()
		if c.change != nil {
			c.change(r)
		}
		good := r.Judge(c.bounds)
		if good != (len(c.failed) == 0) || len(r.Failed) != len(c.failed) {
			t.Errorf("%s: %v %q", c.name, good, r.Failed)
			continue
		}
		for i, part := range c.failed {
			if !strings.Contains(r.Failed[i], part) {
				t.Errorf("%s: %q is not in %q", c.name, part, r.Failed[i])
			}
		}
	}
}

func TestReportForPeople(t *testing.T) {
	var text strings.Builder
	if err := sample().Write(&text); err != nil {
		t.Fatal(err)
	}
	const want = `ws://127.0.0.1:31337, protocol 5: connected in 1.0s, under load for 10.0s

clients     9 of 10 connected, 8 at the end; connections lost: 2, reconnects: 1
actions     100 sent (10/s): 95 processed, 4 undone, 1 without an outcome
deliveries  800 (80/s), 2 twice, 3 lost

   time of  count     p50     p90     p99    max
   connect     10  1.00ms  2.00ms  3.00ms  4.00ms
   outcome     99  5.00ms  6.00ms  70.0ms  800ms
  delivery    800  1.00ms  2.00ms  90.0ms  12.3s

Actions were sent up to 60.0ms after they were due: this machine, or a server that does not read, could not keep up. The times of outcomes and deliveries hold that delay.

errors
       4  undone: denied
       3  not delivered
       2  delivered twice
`
	got := strings.NewReplacer(" ", "").Replace(text.String())
	if got != strings.ReplaceAll(want, " ", "") {
		t.Errorf("it is\n%s", &text)
	}
}

// Programs read these names.
func TestReportForPrograms(t *testing.T) {
	text, err := json.Marshal(sample())
	if err != nil {
		t.Fatal(err)
	}
	for _, part := range []string{
		`"lostConnections":2`, `"withoutOutcome":1`, `"outcome":{"count":99,"p50":5,"p90":6,"p99":70,"max":800}`, `"lost":3`, `"undone: denied":4`, `"errorCount":9`,
	} {
		if !strings.Contains(string(text), part) {
			t.Errorf("%s is missing in %s", part, text)
		}
	}
}
