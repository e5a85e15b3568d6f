package session

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"logux-proxy/wire"
)

// An ackModel is the rule for acknowledgements said in the simplest way: a list of syncs, from whose front
// is taken what has no open action or has waited long enough.
type ackModel struct {
	limit time.Duration
	syncs []modelSync
}

type modelSync struct {
	added int64
	since time.Duration
	all   map[wire.ActionID]bool
	open  map[wire.ActionID]bool
}

func (m *ackModel) settle(id wire.ActionID) {
	for _, s := range m.syncs {
		delete(s.open, id)
	}
}

// take returns the numbers that are to be acknowledged at now.
func (m *ackModel) take(now time.Duration) (numbers []int64) {
	for len(m.syncs) > 0 && (len(m.syncs[0].open) == 0 || now >= m.syncs[0].since+m.limit) {
		numbers = append(numbers, m.syncs[0].added)
		m.syncs = m.syncs[1:]
	}
	return numbers
}

// syncedNumbers are the numbers of the synced messages in out.
func syncedNumbers(t testing.TB, out *Ready) (numbers []int64) {
	t.Helper()
	out.Messages(func(kind wire.MessageType, text []byte) {
		if kind != wire.MessageSynced {
			return
		}
		var n int64
		if _, err := fmt.Sscanf(string(text), `["synced",%d]`, &n); err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		numbers = append(numbers, n)
	})
	if (len(numbers) == 0) != (len(out.Acknowledged) == 0) {
		t.Fatalf("%v are sent and %v are said to be acknowledged", numbers, out.Acknowledged)
	}
	return numbers
}

// Whatever comes in whatever order, acknowledgements are those of the model: in the order of arrival, each
// once, never past an action without an outcome unless the time limit has passed.
func TestAcksEqualModel(t *testing.T) {
	for seed := range uint64(200) {
		rnd := rand.New(rand.NewPCG(seed, 1))
		d := connected(t)
		d.cfg.Ping, d.cfg.Timeout = 24*time.Hour, 24*time.Hour
		m := ackModel{limit: d.cfg.AckLimit}
		check := func(what string) {
			t.Helper()
			syncs := m.syncs
			got, want := syncedNumbers(t, &d.out), m.take(d.mono)
			if !slices.Equal(got, want) {
				t.Fatalf("seed %d, %s: acknowledged %v, want %v", seed, what, got, want)
			}
			acknowledged := make(map[wire.ActionID]bool)
			for _, s := range syncs[:len(got)] {
				maps.Copy(acknowledged, s.all)
			}
			for _, id := range d.out.Acknowledged {
				if !acknowledged[id] {
					t.Fatalf("seed %d, %s: %s is said to be acknowledged", seed, what, id)
				}
			}
			for id := range acknowledged {
				if !slices.Contains(d.out.Acknowledged, id) {
					t.Fatalf("seed %d, %s: %s is not said to be acknowledged", seed, what, id)
				}
			}
			if len(m.syncs) == 0 && d.s.acks != nil {
				t.Fatalf("seed %d, %s: memory is held at rest", seed, what)
			}
		}
		added := int64(0)
		for range 300 {
			switch rnd.IntN(5) {
			case 0, 1:
				added++
				s := modelSync{added: added, since: d.mono, all: make(map[wire.ActionID]bool), open: make(map[wire.ActionID]bool)}
				text := `["sync",` + strconv.FormatInt(added, 10)
				for range 1 + rnd.IntN(4) {
					n := rnd.IntN(12)
					text += fmt.Sprintf(`,{"type":"A"},{"id":%d,"time":1}`, n)
					s.all[poolID(n)], s.open[poolID(n)] = true, true
				}
				d.receives(text + "]")
				m.syncs = append(m.syncs, s)
				if got := syncedNumbers(t, &d.out); got != nil {
					t.Fatalf("seed %d: acknowledged %v on arrival", seed, got)
				}
			case 2, 3:
				id := poolID(rnd.IntN(12))
				d.does("settle " + string(id))
				m.settle(id)
				check("settle")
			case 4:
				d.mono += time.Duration(rnd.IntN(8)) * time.Second
				d.does("advance")
				check("advance")
			}
		}
		for n := range 12 {
			d.does("settle " + string(poolID(n)))
			m.settle(poolID(n))
			check("end")
		}
		if len(m.syncs) != 0 {
			t.Fatal("the model is wrong")
		}
	}
}

func poolID(n int) wire.ActionID {
	return wire.FormatActionID(startWall+int64(n), "10:client:tab", 0)
}

// Advance is due exactly when Deadline says, never later.
func TestDeadlineIsWhenSomethingHappens(t *testing.T) {
	for seed := range uint64(200) {
		rnd := rand.New(rand.NewPCG(seed, 2))
		d := connected(t)
		for range 20 {
			switch rnd.IntN(4) {
			case 0:
				d.receives(`["sync",1,{"type":"A"},{"id":1,"time":1}]`)
			case 1:
				d.does("settle 1000001 10:client:tab 0")
			case 2:
				d.does("send 1")
			case 3:
				d.receives(fmt.Sprintf(`["synced",%d]`, d.s.Added()))
			}
			at := d.s.Deadline()
			if early := d.mono + time.Duration(rnd.IntN(30))*time.Second; early < at {
				d.mono = early
				if log := d.does("advance"); log != "" {
					t.Fatalf("seed %d: %v before it was due: %s", seed, at-early, log)
				}
			} else {
				d.mono = at
				if log := d.does("advance"); log == "" {
					t.Fatalf("seed %d: nothing happens when it is due", seed)
				}
			}
			if d.out.Close != CloseNone {
				break
			}
		}
	}
}

// What a long line of acknowledgements held is let go while others still wait.
func TestAcksLetGo(t *testing.T) {
	d := connected(t)
	for i := range 100 {
		d.receives(fmt.Sprintf(`["sync",%d,{"type":"A","x":%q},{"id":%d,"time":1}]`, i+1, strings.Repeat("x", 1000), i))
	}
	for i := range 99 {
		d.does("settle " + string(poolID(i)))
	}
	for _, a := range d.s.acks[:cap(d.s.acks)][len(d.s.acks):] {
		if a.ids != nil {
			t.Fatal("an acknowledged sync is still held")
		}
	}
}
