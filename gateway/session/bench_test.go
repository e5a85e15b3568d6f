package session

import (
	"testing"
	"unsafe"

	"logux-proxy/wire"
)

// feed returns a function that gives one message to a connected session, as often as it is called, and settles
// the actions in it.
func feed(t testing.TB, message string) func() {
	t.Helper()
	d := connected(t)
	text := []byte(message)
	var m wire.Message
	return func() {
		if err := d.decoder.Decode(text, &m); err != nil {
			t.Fatal(err)
		}
		d.out.Reset()
		d.s.Receive(d.now(), text, &m, &d.out)
		for i := range d.out.Actions {
			d.s.Settled(d.now(), d.out.Actions[i].Action.ID, &d.out)
		}
	}
}

var fed = map[string]struct {
	text   string
	allocs float64
}{
	"ping":   {`["ping",7]`, 0},
	"synced": {`["synced",7]`, 0},
	// Two of the action's own (wire.NewAction); the list of unacknowledged syncs and that of the open actions in it.
	"sync":  {`["sync",7,{"type":"counter/inc","value":1},{"id":17,"time":17}]`, 4},
	"sync5": {`["sync",7,{"type":"A"},{"id":1,"time":1},{"type":"A"},{"id":2,"time":2},{"type":"A"},{"id":3,"time":3},{"type":"A"},{"id":4,"time":4},{"type":"A"},{"id":5,"time":5}]`, 12},
}

func TestReceiveAllocations(t *testing.T) {
	for name, c := range fed {
		if got := testing.AllocsPerRun(1000, feed(t, c.text)); got > c.allocs {
			t.Errorf("%s: %v allocations, want %v at most", name, got, c.allocs)
		}
	}
}

func BenchmarkReceive(b *testing.B) {
	for name, c := range fed {
		b.Run(name, func(b *testing.B) {
			f := feed(b, c.text)
			b.ReportAllocs()
			for b.Loop() {
				f()
			}
		})
	}
}

// sessionBytes is the most that a Session may take: it is part of every connection.
const sessionBytes = 168

func TestSize(t *testing.T) {
	if size := unsafe.Sizeof(Session{}); size > sessionBytes {
		t.Errorf("a Session takes %d bytes, more than %d", size, sessionBytes)
	}
}

func BenchmarkSize(b *testing.B) {
	for b.Loop() {
		_ = connected(b)
	}
	b.ReportMetric(float64(unsafe.Sizeof(Session{})), "B/session")
}
