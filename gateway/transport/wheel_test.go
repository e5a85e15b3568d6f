package transport

import (
	"math/rand/v2"
	"testing"
	"time"
)

// Against a model that is a plain list: a timer fires once, never before its time, and at most a tick after.
func TestWheelAgreesWithAList(t *testing.T) {
	for seed := range uint64(30) {
		r := rand.New(rand.NewPCG(seed, 5))
		w := new(wheel)
		timers := make([]timer, 60)
		model := make(map[*timer]time.Duration)
		now := time.Duration(r.Int64N(int64(time.Hour)))
		for range 3000 {
			tm := &timers[r.IntN(len(timers))]
			switch r.IntN(5) {
			case 0:
				w.clear(tm)
				delete(model, tm)
			case 1, 2, 3:
				// From now to several rounds away, and the past.
				at := now - time.Second + time.Duration(r.Int64N(int64([]time.Duration{time.Second, 5 * time.Second, 3 * wheelSlots * tick}[r.IntN(3)])))
				w.set(tm, at)
				// One whose time has passed fires with the next tick.
				if model[tm] = max(at, now); at <= 0 {
					delete(model, tm)
				}
			case 4:
				if wait := w.wait(now); wait < 0 != (len(model) == 0) {
					t.Fatalf("wait %s with %d timers", wait, len(model))
				} else if wait > 0 && r.IntN(2) == 0 {
					for _, at := range model {
						if at+tick < now+wait {
							t.Fatalf("would sleep over a timer of %s until %s", at, now+wait)
						}
					}
					now += wait
				} else {
					now += time.Duration(r.Int64N(int64([]time.Duration{tick, time.Second, 2 * wheelSlots * tick}[r.IntN(3)])))
				}
				for tm := w.pop(now); tm != nil; tm = w.pop(now) {
					at, ok := model[tm]
					if !ok || at > now {
						t.Fatalf("fired at %s: set %v for %s", now, ok, at)
					}
					delete(model, tm)
					if r.IntN(4) == 0 { // what firing does may clear others
						other := &timers[r.IntN(len(timers))]
						w.clear(other)
						delete(model, other)
					}
				}
				for _, at := range model {
					if at+tick <= now {
						t.Fatalf("at %s the timer of %s has not fired", now, at)
					}
				}
			}
		}
	}
}

func TestWheelWaitsForTheFirstTimer(t *testing.T) {
	w := new(wheel)
	if d := w.wait(time.Second); d != -1 {
		t.Errorf("empty: %s", d)
	}
	w.pop(10 * time.Second)
	var tm timer
	w.set(&tm, 30*time.Second)
	if d := w.wait(10 * time.Second); d < 20*time.Second || d > 20*time.Second+tick {
		t.Errorf("wait %s for a timer in 20 s", d)
	}
	w.set(&tm, 40*time.Second) // moved away: the old slot is looked at, and nothing fires
	if got := w.pop(30*time.Second + tick); got != nil {
		t.Error("fired before its time")
	}
	if d := w.wait(30*time.Second + tick); d < 9*time.Second || d > 10*time.Second {
		t.Errorf("wait %s", d)
	}
	if w.pop(40*time.Second+tick) != &tm {
		t.Error("did not fire")
	}
}

func TestWheelAllocatesNothing(t *testing.T) {
	w := new(wheel)
	var tm timer
	now := time.Second
	if n := testing.AllocsPerRun(1000, func() {
		w.set(&tm, now+time.Second)
		w.set(&tm, now+2*time.Second)
		w.set(&tm, now+tick)
		now += 2 * tick
		if w.pop(now) != &tm {
			t.Fatal("did not fire")
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// What each message does to a connection's time-out.
func BenchmarkWheelMoveAway(b *testing.B) {
	w := new(wheel)
	var tm timer
	at := time.Second
	for b.Loop() {
		at += time.Millisecond
		w.set(&tm, at)
	}
}

func BenchmarkWheelSetAndClear(b *testing.B) {
	w := new(wheel)
	var tm timer
	for b.Loop() {
		w.set(&tm, time.Second)
		w.clear(&tm)
	}
}
