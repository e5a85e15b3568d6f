package backend

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

func names(calls []*call) string {
	var out []string
	for _, k := range calls {
		out = append(out, k.id)
	}
	return strings.Join(out, " ")
}

func lineOf(calls ...*call) *line {
	l := &line{}
	for i, k := range calls {
		k.id = fmt.Sprint(i)
		l.push(k)
	}
	return l
}

func TestLineBatch(t *testing.T) {
	l := lineOf(&call{size: 10}, &call{size: 10}, &call{size: 10}, &call{size: 100}, &call{alone: true}, &call{}, &call{alone: true}, &call{})
	for _, want := range []string{"0 1", "2", "3", "4", "5", "6", "7", ""} {
		count := 5
		if got := names(l.batch(count, 20)); got != want {
			t.Errorf("batch %q, want %q", got, want)
		}
	}
	l = lineOf(&call{}, &call{}, &call{})
	if got := names(l.batch(2, 20)); got != "0 1" {
		t.Errorf("batch %q", got)
	}
}

func TestLineProbe(t *testing.T) {
	l := lineOf(&call{changes: true}, &call{changes: true}, &call{}, &call{changes: true})
	var got []string
	for l.len() > 0 {
		got = append(got, l.probe(true).id)
	}
	if s := strings.Join(got, " "); s != "2 0 1 3" {
		t.Errorf("probes %s", s)
	}
	l = lineOf(&call{changes: true}, &call{})
	if got := l.probe(false).id; got != "0" {
		t.Errorf("probe %s", got)
	}
}

// First come first served, through any number of pushes and takes, and without keeping what left.
func TestLineOrder(t *testing.T) {
	l := &line{}
	in, out := 0, 0
	for round := range 2000 {
		for range round % 7 {
			l.push(&call{id: fmt.Sprint(in)})
			in++
		}
		for _, k := range l.batch(round%5, 1<<20) {
			if k.id != fmt.Sprint(out) {
				t.Fatalf("%s came in place of %d", k.id, out)
			}
			out++
		}
		if round%500 == 499 {
			for _, k := range l.batch(1<<20, 1<<30) {
				if k.id != fmt.Sprint(out) {
					t.Fatalf("%s came in place of %d", k.id, out)
				}
				out++
			}
		}
		if l.len() != in-out {
			t.Fatalf("%d wait, want %d", l.len(), in-out)
		}
	}
	if n := cap(l.ready); n > 5000 {
		t.Errorf("room for %d in an empty line", n)
	}
}

func TestLineExpiry(t *testing.T) {
	now := time.Unix(1000, 0)
	l := lineOf(&call{}, &call{}, &call{}, &call{})
	l.batch(1, 0)
	at := map[string]time.Time{"1": now, "2": now.Add(5), "3": now.Add(3)}
	expired, next := l.expire(now, func(k *call) time.Time { return at[k.id] })
	if names(expired) != "1" || !next.Equal(now.Add(3)) || l.len() != 2 {
		t.Errorf("%s expired, next at %v, %d left", names(expired), next.Sub(now), l.len())
	}
	expired, next = l.expire(now.Add(9), func(k *call) time.Time { return at[k.id] })
	if names(expired) != "2 3" || !next.IsZero() || l.len() != 0 {
		t.Errorf("%s expired, next at %v, %d left", names(expired), next, l.len())
	}
}

func TestLineLater(t *testing.T) {
	now := time.Unix(1000, 0)
	l := &line{}
	for i, after := range []time.Duration{5, 1, 3, 9} {
		l.postpone(&call{id: fmt.Sprint(i), notBefore: now.Add(after)})
	}
	l.promote(now.Add(5))
	if got := names(l.ready); got != "1 2 0" || l.waiting() != 4 || l.len() != 3 {
		t.Errorf("%s may go, %d wait", got, l.waiting())
	}
	if got := names(l.drain()); got != "1 2 0 3" || l.waiting() != 0 {
		t.Errorf("%s drained, %d wait", got, l.waiting())
	}
}
