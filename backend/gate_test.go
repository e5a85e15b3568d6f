package backend

import (
	"errors"
	"testing"
	"time"
)

func TestBackoff(t *testing.T) {
	for tries := range 100 {
		want := min(backoffFirst<<min(tries, 10), backoffMost)
		for range 100 {
			if d := backoff(tries); d < want/2 || d > want {
				t.Fatalf("backoff(%d) = %v, want %v to %v", tries, d, want/2, want)
			}
		}
	}
}

func TestGate(t *testing.T) {
	now := time.Unix(1e9, 0)
	away := &failure{class: unseen, kind: KindUnreachable, err: errors.New("refused")}
	var g gate
	if g.reached(0) {
		t.Error("an open gate opens")
	}
	if !g.failed(now, 0, away) || g.failed(now, 0, away) {
		t.Error("the first failure closes it, a second of the same moment does not")
	}
	if g.mayProbe(now) || !g.mayProbe(now.Add(backoffFirst)) {
		t.Error("a probe goes after the first pause")
	}
	first := g.probe(now.Add(backoffFirst))
	if g.mayProbe(now.Add(2 * backoffFirst)) {
		t.Error("two probes at once")
	}
	if !g.mayProbe(now.Add(backoffFirst + backoffMost)) {
		t.Error("a probe that hangs holds everybody up")
	}
	if g.reached(0) {
		t.Error("a response to a request from before opens the gate")
	}
	g.failed(now, first, away)
	second := g.probe(now.Add(time.Second))
	if !g.reached(second) || g.closed {
		t.Error("a probe that came through does not open the gate")
	}
	g.failed(now, 0, away)
	if g.reached(second) || !g.closed {
		t.Error("a probe of an earlier round opens the gate")
	}
	if g.probing != 0 {
		t.Errorf("%d probes", g.probing)
	}
}

// A request that failed so that it may be one command's fault closes the gate only with others like it.
func TestGateUnsure(t *testing.T) {
	now := time.Unix(1e9, 0)
	cut := &failure{class: unsure, kind: KindMalformed, err: errors.New("cut")}
	var g gate
	for range 10 {
		for range unsureInRow - 1 {
			if g.failed(now, 0, cut) {
				t.Fatal("closed")
			}
		}
		g.reached(0)
	}
	g.failed(now, 0, cut)
	g.failed(now, 0, cut)
	if !g.failed(now, 0, cut) {
		t.Error("open")
	}
}

func TestGateWaits(t *testing.T) {
	now := time.Unix(1e9, 0)
	for _, one := range []struct {
		f    failure
		want time.Duration
	}{
		{failure{class: unseen, kind: KindRefused}, refusedPause},
		{failure{class: unseen, kind: KindStatus, after: 7 * time.Second}, 7 * time.Second},
		{failure{class: unseen, kind: KindStatus, after: 1000 * time.Hour}, retryAfterMost},
	} {
		var g gate
		g.failed(now, 0, &one.f)
		if g.mayProbe(now.Add(one.want-1)) || !g.mayProbe(now.Add(one.want)) {
			t.Errorf("%+v waits %v", one.f, g.next.Sub(now))
		}
	}
}

func TestRetryAfter(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for in, want := range map[string]time.Duration{
		"": 0, "3": 3 * time.Second, "0": 0, "-1": 0, "x": 0, "99999999999999999999": 0,
		"Fri, 02 Jan 2026 03:04:15 GMT": 10 * time.Second,
		"Fri, 02 Jan 2026 03:04:00 GMT": 0,
	} {
		if got := retryAfter(in, now); got != want {
			t.Errorf("%q: %v, want %v", in, got, want)
		}
	}
}
