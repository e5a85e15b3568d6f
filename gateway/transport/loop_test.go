package transport

import (
	"slices"
	"testing"
)

// EachFrom goes round once, from anywhere, and can be gone on with.
func TestEachFrom(t *testing.T) {
	l := new(Loop)
	if next := l.EachFrom(7, func(*Conn) bool { t.Error("there is no connection"); return true }); next != 7 {
		t.Errorf("the next place is %d, want 7", next)
	}
	var conns []*Conn
	for i := range 6 {
		c := &Conn{known: i != 4} // one whose end was told
		l.slots.add(c)
		conns = append(conns, c)
	}
	l.slots.free(conns[1])
	for _, c := range []struct{ from, most, next int }{{0, 9, 0}, {3, 9, 3}, {0, 1, 1}, {1, 1, 3}, {3, 2, 6}, {6, 1, 1}, {605, 2, 1}} {
		var want, got []*Conn
		for i := range 6 {
			if at := (c.from + i) % 6; at != 1 && at != 4 && len(want) < c.most {
				want = append(want, conns[at])
			}
		}
		next := l.EachFrom(c.from, func(c2 *Conn) bool {
			got = append(got, c2)
			return len(got) < c.most
		})
		if !slices.Equal(got, want) || next != c.next {
			t.Errorf("%d connections from place %d: %d of them, next place %d, want %d, %d", c.most, c.from, len(got), next, len(want), c.next)
		}
	}
}
