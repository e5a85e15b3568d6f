package cluster

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"logux-proxy/wire"
)

// listen keeps the frames of one kind.
func (s *gossiper) listen(kind Kind) *Lane {
	return s.links.Lane(kind, func(from wire.NodeID, frame []byte) {
		s.mu.Lock()
		hold := s.hold
		s.mu.Unlock()
		if hold != nil {
			<-hold
		}
		s.mu.Lock()
		s.frames[from] = append(s.frames[from], string(frame))
		s.mu.Unlock()
		select {
		case s.came <- struct{}{}:
		default:
		}
	})
}

// want waits until exactly these frames of a server have come, in this order.
func (s *gossiper) want(t *testing.T, within time.Duration, from *gossiper, frames ...string) {
	t.Helper()
	deadline := time.After(within)
	node := from.members.Self().Node()
	for {
		s.mu.Lock()
		got := slices.Clone(s.frames[node])
		s.mu.Unlock()
		if slices.Equal(got, frames) {
			return
		}
		select {
		case <-s.came:
			continue
		case <-deadline:
		}
		t.Fatalf("%s has %d frames of %s after %v, want %d: %.200q", s.members.Self().Node(), len(got), node, within, len(frames), got)
	}
}

func (s *gossiper) node() wire.NodeID { return s.members.Self().Node() }

// send sends frames, once there is a link: it comes right after the peer has become a member.
func send(t *testing.T, lane *Lane, to *gossiper, frames ...string) {
	t.Helper()
	linked(t, lane, to)
	for _, f := range frames {
		if err := lane.Send(to.node(), []byte(f)); err != nil {
			t.Errorf("sending to %s: %v", to.node(), err)
		}
	}
}

func linked(t testing.TB, lane *Lane, to *gossiper) {
	t.Helper()
	deadline, tick := time.After(waitTime), time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for !slices.Contains(lane.Peers(), to.node()) {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("there is no link to %s", to.node())
		}
	}
}

func numbered(prefix string, n int) (frames []string) {
	for i := range n {
		frames = append(frames, fmt.Sprint(prefix, i))
	}
	return frames
}

func TestFramesArriveInOrderAndOnce(t *testing.T) {
	bubble(t, func(t *testing.T) {
		n := newGossipNet(t)
		keyed := func(c *MembersConfig) { c.Keys, c.Cluster = []Key{key('k', 32)}, "blue" }
		a := n.with(t, "a", keyed)
		b := n.with(t, "b", func(c *MembersConfig) { keyed(c); c.Join = []string{a.addr} })
		met(t, 5*time.Second, a, b)
		la, lb := a.listen(KindBus), b.listen(KindBus)
		frames := numbered("frame ", 1000)
		frames = append(frames, strings.Repeat("long", 1<<20), "", "last")
		back := numbered("back ", 1000)
		send(t, la, b, frames...)
		send(t, lb, a, back...)
		b.want(t, 5*time.Second, a, frames...)
		a.want(t, 5*time.Second, b, back...)
		if got := fmt.Sprint(la.Peers()); got != "[server:b]" {
			t.Errorf("peers are %v", got)
		}
		if err := la.Send("server:nobody", nil); !errors.Is(err, ErrNoPeer) {
			t.Errorf("sending to nobody: %v", err)
		}
		if err := la.Send(a.node(), nil); !errors.Is(err, ErrNoPeer) {
			t.Errorf("sending to oneself: %v", err)
		}
		if err := la.Send(b.node(), make([]byte, 16<<20+1)); !errors.Is(err, ErrFrameSize) {
			t.Errorf("sending too much: %v", err)
		}
		// Nobody listens to this kind here; others are served all the same.
		if err := a.links.Lane(KindAttempts, nil).Send(b.node(), []byte("x")); err != nil {
			t.Error(err)
		}
		send(t, la, b, "after")
		b.want(t, 5*time.Second, a, append(frames, "after")...)
		if got := b.links.Stats(); got.Received != 1004 || got.Dropped != 1 || got.Malformed != 0 {
			t.Errorf("b counts %+v", got)
		}
		synctest.Wait()
		if got := a.links.Stats(); got.Sent != 1005 || got.Queued != 0 || got.Links != 1 || got.Resent != 0 {
			t.Errorf("a counts %+v", got)
		}
	})
}

// A peer that is stuck costs its queue, and the others get their frames without delay.
func TestStuckPeer(t *testing.T) {
	bubble(t, func(t *testing.T) {
		n := newGossipNet(t)
		a := n.on(t, "a")
		b := n.on(t, "b", a)
		c := n.on(t, "c", a)
		met(t, 5*time.Second, a, b, c)
		la := a.listen(KindBus)
		b.listen(KindBus)
		n.freeze(c, true)
		linked(t, la, c)
		frame := make([]byte, 1<<20)
		for sent := 0; ; sent++ {
			if err := la.Send(c.node(), frame); err != nil {
				if !errors.Is(err, ErrBacklog) || sent != 15 {
					t.Errorf("frame %d: %v", sent, err)
				}
				break
			}
		}
		for i := range 100 {
			send(t, la, b, fmt.Sprint(i))
			b.want(t, 100*time.Millisecond, a, numbered("", i+1)...)
		}
		if got := a.links.Stats(); got.Queued > 16<<20 || got.Refused != 1 {
			t.Errorf("a counts %+v", got)
		}
		a.wantPeers(t, 20*time.Second, b) // frozen that long, it is dead
		synctest.Wait()
		if got := a.links.Stats(); got.Queued != 0 {
			t.Errorf("%d bytes wait for nobody", got.Queued)
		}
		<-time.After(10 * time.Second)
		if got := a.links.Stats(); got.Dropped != 15 {
			t.Errorf("a counts %+v", got)
		}
	})
}

// While a receiver does not take frames, its sender is held back; nothing is lost, and others go on.
func TestSlowReceiverHoldsItsSenderBack(t *testing.T) {
	bubble(t, func(t *testing.T) {
		n := newGossipNet(t)
		a := n.on(t, "a")
		b := n.on(t, "b", a)
		c := n.on(t, "c", a)
		met(t, 5*time.Second, a, b, c)
		la := a.listen(KindBus)
		lc := c.listen(KindBus)
		b.listen(KindBus)
		b.hold = make(chan struct{})
		frames := make([]string, 0, 64)
		for i := range 64 {
			frames = append(frames, fmt.Sprint(i, strings.Repeat("x", 100<<10)))
		}
		send(t, la, b, frames...)
		<-time.After(time.Minute)
		b.want(t, time.Nanosecond, a)
		send(t, lc, a, "meanwhile")
		a.want(t, time.Second, c, "meanwhile")
		if got := a.links.Stats(); got.Queued == 0 || got.Resent > 20 {
			t.Errorf("a counts %+v", got)
		}
		close(b.hold)
		b.want(t, 20*time.Second, a, frames...)
	})
}

// Messages that a broken network swallows are sent again; the receiver sees each frame once.
func TestFramesSurviveACut(t *testing.T) {
	bubble(t, func(t *testing.T) {
		n := newGossipNet(t)
		a := n.on(t, "a")
		b := n.on(t, "b", a)
		met(t, 5*time.Second, a, b)
		la := a.listen(KindBus)
		lb := b.listen(KindBus)
		n.partition([]*gossiper{a}, []*gossiper{b})
		send(t, la, b, numbered("", 10)...)
		send(t, lb, a, numbered("", 10)...)
		<-time.After(2 * time.Second)
		n.partition()
		send(t, la, b, "10")
		b.want(t, 20*time.Second, a, numbered("", 11)...)
		a.want(t, 20*time.Second, b, numbered("", 10)...)

		// So long a cut that both take each other for dead: what waited is dropped, and then it goes on.
		n.partition([]*gossiper{a}, []*gossiper{b})
		a.wantPeers(t, 20*time.Second)
		b.wantPeers(t, 20*time.Second)
		synctest.Wait()
		if err := la.Send(b.node(), nil); !errors.Is(err, ErrNoPeer) {
			t.Errorf("sending to a dead server: %v", err)
		}
		n.partition()
		met(t, 30*time.Second, a, b)
		send(t, la, b, "11")
		send(t, lb, a, "10")
		b.want(t, 5*time.Second, a, numbered("", 12)...)
		a.want(t, 5*time.Second, b, numbered("", 11)...)
	})
}

// One of the two was called dead and does not know: its stream goes on where it was.
func TestStreamGoesOnAfterOneSidedDeath(t *testing.T) {
	bubble(t, func(t *testing.T) {
		n := newGossipNet(t)
		a := n.on(t, "a")
		b := n.on(t, "b", a)
		met(t, 5*time.Second, a, b)
		la := a.listen(KindBus)
		b.listen(KindBus)
		send(t, la, b, "0", "1")
		b.want(t, 5*time.Second, a, "0", "1")
		// b forgets its link to a and makes another.
		synctest.Wait()
		b.links.mu.Lock()
		old := b.links.links[a.members.Self()]
		old.cancel()
		delete(b.links.links, a.members.Self())
		b.links.mu.Unlock()
		a.members.SetLoad(1, 1) // a new view
		send(t, la, b, "2", "3")
		b.want(t, 20*time.Second, a, "0", "1", "2", "3")
	})
}

// A server that is started again under its old node ID gets what is sent from then on.
func TestNewLifeOfAServer(t *testing.T) {
	bubble(t, func(t *testing.T) {
		n := newGossipNet(t)
		a := n.on(t, "a")
		b := n.on(t, "b", a)
		met(t, 5*time.Second, a, b)
		la := a.listen(KindBus)
		n.cutWhere(func(from, to string) bool { return from == b.addr || to == b.addr })
		<-time.After(time.Second)
		again := n.on(t, "b", a)
		again.listen(KindBus)
		a.until(5*time.Second, func(v *View) bool { _, ok := v.Get(again.members.Self()); return ok })
		synctest.Wait()
		if got := fmt.Sprint(la.Peers()); got != "[server:b]" {
			t.Errorf("peers are %v", got)
		}
		send(t, la, again, "hello")
		again.want(t, 5*time.Second, a, "hello")
		if !a.members.Alive(again.members.Self()) {
			t.Error("the new life is not alive")
		}
		a.wantPeers(t, 15*time.Second, again)
	})
}

// Two links over a network that loses, doubles and delays messages, against the list of what was sent.
func TestLinkDeliversOnceInOrder(t *testing.T) {
	for seed := range uint64(300) {
		random := rand.New(rand.NewPCG(seed, 1))
		a, b := newPair()
		now := time.Now()
		var sent, got []string
		var asm assembler
		var flying [2][][]byte // messages on their way to a, b
		b.collect(&got)
		step := func(busy bool) {
			switch r := random.IntN(10); {
			case r < 3 && busy:
				frame := strings.Repeat(fmt.Sprint(len(sent), " "), random.IntN(40))
				if a.push(KindBus, []byte(frame)) {
					sent = append(sent, frame)
				}
			case r < 6:
				for i, k := range []*link{a, b} {
					msg, data, _ := k.next(now)
					if msg == nil {
						continue
					}
					if data {
						k.sent(nil, now)
					}
					copies := 1
					if busy {
						copies = random.IntN(3) // lost, or doubled
					}
					for range copies {
						flying[1-i] = append(flying[1-i], msg)
					}
				}
			case r < 9:
				i := random.IntN(2)
				if len(flying[i]) == 0 {
					return
				}
				at := random.IntN(len(flying[i]))
				msg := flying[i][at]
				flying[i] = slices.Delete(flying[i], at, at+1)
				h, pieces, err := parseLinkHeader(msg)
				if err != nil {
					t.Fatal(err)
				}
				[]*link{a, b}[i].receive(&h, pieces)
			default:
				now = now.Add(time.Duration(random.IntN(2000)) * time.Millisecond)
			}
			select {
			case in := <-b.inbox:
				b.deal(in, &asm)
			default:
			}
		}
		for range 2000 {
			step(true)
		}
		for range 20_000 {
			if a.waiting() == 0 {
				break
			}
			step(false)
		}
		if !slices.Equal(got, sent) || a.waiting() != 0 {
			t.Fatalf("seed %d: sent %d frames, %d arrived, %d bytes wait", seed, len(sent), len(got), a.waiting())
		}
	}
}

// What does not belong where it comes in changes nothing.
func TestLinkTakesOnlyWhatIsNext(t *testing.T) {
	a, b := newPair()
	var got []string
	b.collect(&got)
	b.links.links[b.to.ID] = b
	var asm assembler
	receive := func(to wire.ServerID, stream, seq uint64, frame string) {
		h := linkHeader{from: b.to.ID, to: to, stream: stream, seq: seq}
		b.links.receive(appendPiece(h.append(nil), KindBus, pieceFirst|pieceLast, []byte(frame)))
	}
	deal := func(want ...string) {
		t.Helper()
		select {
		case in := <-b.inbox:
			b.deal(in, &asm)
		default:
		}
		if !slices.Equal(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	self := a.to.ID
	receive("server:c/1-C", 5, 1, "for somebody else")
	deal()
	receive(self, 5, 1, "1")
	receive(self, 5, 1, "1 again")
	receive(self, 5, 2, "2 too early")
	deal("1")
	deal("1")
	receive(self, 5, 3, "3 before 2")
	deal("1")
	receive(self, 4, 2, "of an old stream")
	deal("1")
	receive(self, 5, 2, "2")
	receive(self, 6, 1, "1 of a new stream, while 2 waits")
	deal("1", "2")
	receive(self, 6, 1, "new")
	deal("1", "2", "new")
	receive(self, 5, 2, "old")
	deal("1", "2", "new")
	receive(self, 7, 0, "no number")
	deal("1", "2", "new")
	if s := b.links.Stats(); s.Malformed != 1 || s.Received != 3 {
		t.Errorf("%+v", s)
	}
}

// newPair returns the two ends of one link, without goroutines.
func newPair() (a, b *link) {
	ends := make([]*link, 2)
	ids := []wire.ServerID{"server:a/1-A", "server:b/1-B"}
	for i := range ends {
		m := &Members{cfg: MembersConfig{Self: ids[i]}}
		l := NewLinks(LinksConfig{MaxMessage: 50, MaxQueue: 2000}, m)
		ends[i] = newLink(l, Member{ID: ids[1-i]})
	}
	return ends[0], ends[1]
}

// collect makes k's side append to got what is delivered.
func (k *link) collect(got *[]string) {
	k.links.Lane(KindBus, func(_ wire.NodeID, frame []byte) { *got = append(*got, string(frame)) })
}

func FuzzLinkMessage(f *testing.F) {
	h := linkHeader{from: "server:a/1-A", to: "server:b/1-B", stream: 1, seq: 1, acked: 3, ack: 1 << 40}
	whole := appendPiece(h.append(nil), KindBus, pieceFirst|pieceLast, []byte("frame"))
	f.Add(whole)
	f.Add(appendPiece(appendPiece(h.append(nil), KindBus, pieceFirst, []byte("a")), KindBus, pieceLast, []byte("b")))
	f.Add(whole[:len(whole)-1])
	f.Add([]byte{linkVersion, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1})
	f.Fuzz(func(t *testing.T, msg []byte) {
		_, b := newPair()
		var got []string
		b.collect(&got)
		b.links.links[b.to.ID] = b
		b.links.receive(msg)
		var a assembler
		select {
		case in := <-b.inbox:
			b.deal(in, &a)
		default:
		}
		total := 0
		for _, frame := range got {
			total += len(frame)
		}
		if total+len(a.frame) > len(msg) {
			t.Errorf("%d bytes became %d", len(msg), total+len(a.frame))
		}
		h, pieces, err := parseLinkHeader(msg)
		if err != nil {
			return
		}
		again, rest, err := parseLinkHeader(append(h.append(nil), pieces...))
		if err != nil || again != h || !bytes.Equal(rest, pieces) {
			t.Errorf("%+v became %+v, %v", h, again, err)
		}
	})
}

func TestAssembler(t *testing.T) {
	const first, last = pieceFirst, pieceLast
	var a assembler
	for i, c := range []struct {
		kind  Kind
		flags byte
		data  string
		frame string // "-" for none
		lost  bool
	}{
		{1, last, "tail of something", "-", true},
		{1, first, "a", "-", false},
		{1, 0, "b", "-", false},
		{1, last, "c", "abc", false},
		{1, 0, "no beginning", "-", true},
		{2, first | last, "", "", false},
		{2, first, "never ends", "-", false},
		{2, first | last, "x", "x", true},
		{2, first, "0123456789", "-", false},
		{2, 0, "0123456789", "-", false},
		{2, last, "over", "-", true},
		{2, first, "kind", "-", false},
		{3, last, "changes", "-", true},
		{2, last, "gone", "-", true},
		{2, first | last, "01234567890123456789", "01234567890123456789", false},
		{2, first | last, "012345678901234567890", "-", true},
	} {
		frame, done, lost := a.add(c.kind, c.flags, []byte(c.data), 20)
		want, wantDone := c.frame, c.frame != "-"
		if !wantDone {
			want = ""
		}
		if string(frame) != want || done != wantDone || lost != c.lost {
			t.Errorf("%d: got %q, %v, %v", i, frame, done, lost)
		}
	}
}

func BenchmarkLink(b *testing.B) {
	for _, size := range []int{200, 100 << 10} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			from := startBench(b, "a")
			to := startBench(b, "b", from)
			met(b, waitTime, from, to)
			var wait sync.WaitGroup
			to.links.Lane(KindBus, func(wire.NodeID, []byte) { wait.Done() })
			lane := from.links.Lane(KindBus, func(wire.NodeID, []byte) {})
			linked(b, lane, to)
			frame := make([]byte, size)
			b.SetBytes(int64(size))
			b.ReportAllocs()
			for b.Loop() {
				wait.Add(1)
				for lane.Send(to.node(), frame) != nil {
					<-time.After(time.Millisecond)
				}
			}
			wait.Wait()
		})
	}
}
