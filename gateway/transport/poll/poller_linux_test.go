package poll

import (
	"errors"
	"net"
	"net/netip"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func open(t *testing.T) *Poller {
	t.Helper()
	p, err := New()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	})
	return p
}

func pair(t *testing.T) (int, int) {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		Close(fds[0])
		Close(fds[1])
	})
	return fds[0], fds[1]
}

func wait(t *testing.T, p *Poller, timeout time.Duration) []Event {
	t.Helper()
	events := make([]Event, 8)
	n, err := p.Wait(events, timeout)
	if err != nil {
		t.Fatal(err)
	}
	return events[:n]
}

func TestEventsBearTheTokenAndLastAsLongAsTheirCause(t *testing.T) {
	p := open(t)
	a, b := pair(t)
	const token = 0xfedc_ba98_7654_3210
	if err := p.Add(a, token, In); err != nil {
		t.Fatal(err)
	}
	if ev := wait(t, p, 0); len(ev) != 0 {
		t.Fatalf("events of a silent socket: %+v", ev)
	}
	if n, err := Write(b, []byte("hello")); n != 5 || err != nil {
		t.Fatal(n, err)
	}
	for range 2 {
		if ev := wait(t, p, Forever); len(ev) != 1 || ev[0] != (Event{Token: token, Readable: true}) {
			t.Fatalf("got %+v", ev)
		}
	}
	buf := make([]byte, 10)
	if n, err := Read(a, buf); n != 5 || err != nil {
		t.Fatal(n, err)
	}
	if _, err := Read(a, buf); !errors.Is(err, ErrAgain) {
		t.Fatal(err)
	}
	if ev := wait(t, p, 0); len(ev) != 0 {
		t.Fatalf("got %+v", ev)
	}
	if err := p.Change(a, token, In|Out); err != nil {
		t.Fatal(err)
	}
	if ev := wait(t, p, 0); len(ev) != 1 || ev[0] != (Event{Token: token, Writable: true}) {
		t.Fatalf("got %+v", ev)
	}
	if err := p.Change(a, token, 0); err != nil {
		t.Fatal(err)
	}
	FinishWrites(b)
	FinishWrites(a)
	if ev := wait(t, p, Forever); len(ev) != 1 || !ev[0].Broken || ev[0].Readable {
		t.Fatalf("without interest: %+v", ev)
	}
	if err := p.Remove(a); err != nil {
		t.Fatal(err)
	}
	if ev := wait(t, p, 0); len(ev) != 0 {
		t.Fatalf("after Remove: %+v", ev)
	}
	if n, err := Read(a, buf); n != 0 || err != nil {
		t.Fatal("end of stream:", n, err)
	}
}

func TestWakeEndsTheWaitUnderWayOrTheNext(t *testing.T) {
	p := open(t)
	p.Wake()
	p.Wake()
	if ev := wait(t, p, Forever); len(ev) != 0 {
		t.Fatalf("got %+v", ev)
	}
	// Each Wake must end one Wait, however the two meet.
	awake := make(chan struct{})
	go func() {
		for range 2000 {
			p.Wake()
			<-awake
		}
	}()
	for range 2000 {
		wait(t, p, Forever)
		awake <- struct{}{}
	}
}

func TestWaitEndsAtItsTimeout(t *testing.T) {
	p := open(t)
	for _, timeout := range []time.Duration{time.Nanosecond, time.Millisecond, 20 * time.Millisecond, time.Millisecond} {
		began := time.Now()
		for time.Since(began) < timeout {
			if ev := wait(t, p, timeout-time.Since(began)); len(ev) != 0 {
				t.Fatalf("after the time-out: %+v", ev)
			}
		}
	}
	// A time-out that has not passed stays set, and disturbs nothing later.
	p.Wake()
	wait(t, p, 5*time.Millisecond)
	woken := make(chan struct{})
	go func() {
		defer close(woken)
		p.Wake()
	}()
	wait(t, p, Forever)
	<-woken
}

func TestAcceptInheritsAndNamesThePeer(t *testing.T) {
	for _, addr := range []string{"127.0.0.1:0", "[::1]:0"} {
		o := Options{NotSentLowat: 128 << 10, UserTimeout: 30 * time.Second, KeepAlive: 45 * time.Second}
		lc := net.ListenConfig{Control: o.Control}
		ln, err := lc.Listen(t.Context(), "tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		lfd, err := Take(ln.(*net.TCPListener))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { Close(lfd) })
		if _, _, err := Accept(lfd); !errors.Is(err, ErrAgain) {
			t.Fatal(err)
		}
		c, err := net.Dial("tcp", ln.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
		fd, peer, err := Accept(lfd)
		if err != nil {
			t.Fatal(err)
		}
		if want := netip.MustParseAddrPort(c.LocalAddr().String()); peer != want {
			t.Errorf("peer %s, want %s", peer, want)
		}
		for name, opt := range map[string][3]int{
			"nodelay":      {unix.IPPROTO_TCP, unix.TCP_NODELAY, 1},
			"notsent":      {unix.IPPROTO_TCP, unix.TCP_NOTSENT_LOWAT, 128 << 10},
			"user timeout": {unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, 30000},
			"keepalive":    {unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1},
			"keepidle":     {unix.IPPROTO_TCP, unix.TCP_KEEPIDLE, 45},
		} {
			if got, err := unix.GetsockoptInt(fd, opt[0], opt[1]); err != nil || got != opt[2] {
				t.Errorf("%s: %d, %v", name, got, err)
			}
		}
		if flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0); err != nil || flags&unix.O_NONBLOCK == 0 {
			t.Error("an accepted socket blocks")
		}
		if flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err != nil || flags&unix.FD_CLOEXEC == 0 {
			t.Error("an accepted socket survives exec")
		}
		conn, err := NetConn(fd)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := conn.Write([]byte("hi")); err != nil {
			t.Error(err)
		}
		back, err := Take(conn.(Socket))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := Write(back, []byte(" there")); err != nil {
			t.Error(err)
		}
		Close(back)
		buf := make([]byte, 16)
		n := 0
		for {
			m, err := c.Read(buf[n:])
			if n += m; err != nil {
				break
			}
		}
		if string(buf[:n]) != "hi there" {
			t.Errorf("got %q", buf[:n])
		}
	}
}

func TestErrorsOfSockets(t *testing.T) {
	a, b := pair(t)
	big := make([]byte, 16<<20)
	total := 0
	for {
		n, err := Write(a, big)
		total += n
		if errors.Is(err, ErrAgain) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if total == 0 || total >= len(big) {
		t.Errorf("a full socket took %d bytes", total)
	}
	Close(b)
	if _, err := Write(a, []byte("x")); !errors.Is(err, unix.EPIPE) {
		t.Errorf("write to nobody: %v", err)
	}
	if _, err := NetConn(-1); err == nil {
		t.Error("NetConn of nothing")
	}
	if _, _, err := Accept(a); err == nil {
		t.Error("Accept on a connection")
	}
	p := open(t)
	if err := p.Add(-1, 0, In); err == nil {
		t.Error("Add of nothing")
	}
}

func TestReadAndWaitDoNotAllocate(t *testing.T) {
	p := open(t)
	a, b := pair(t)
	if err := p.Add(a, 1, In); err != nil {
		t.Fatal(err)
	}
	events := make([]Event, 8)
	buf := make([]byte, 64)
	if n := testing.AllocsPerRun(100, func() {
		p.Wake()
		if _, err := Write(b, buf[:8]); err != nil {
			t.Fatal(err)
		}
		if n, err := p.Wait(events, time.Hour); err != nil || n != 1 {
			t.Fatal(n, err)
		}
		if _, err := Read(a, buf); err != nil {
			t.Fatal(err)
		}
		if _, err := Read(a, buf); !errors.Is(err, ErrAgain) {
			t.Fatal(err)
		}
		if err := p.Change(a, 1, In|Out); err != nil {
			t.Fatal(err)
		}
		if err := p.Change(a, 1, In); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
