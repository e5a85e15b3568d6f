//go:build linux

package main

import (
	"fmt"
	"net/netip"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"logux-proxy/cmd/node/bench/latency"
)

var epoch = time.Now()

// now is the monotonic time in nanoseconds since the start of the program.
func now() int64 { return int64(time.Since(epoch)) }

// A fleet is all clients of one scenario, with the control API's caller, on one epoll instance. One
// goroutine does everything: a scenario calls run, which turns the loop until its condition holds.
type fleet struct {
	// Static.
	epoll   int
	servers []netip.AddrPort
	at      func(i int) int // which of the servers client i is at; nil: the first
	path    string
	name    string // makes users and channels of two runs different
	user    string // of all clients; "": each has its own
	direct  bool   // clients subscribe to nothing: what is published goes to clients by name, the channel being its number

	clients []client
	control *control
	tally   *tally
	ready   latency.Histogram // from the first SYN to the end of the subscription
	trips   latency.Histogram // from an action to its logux/processed

	// How many clients are in which state, and what went wrong.
	opened     int // next client to connect
	connecting int
	connected  int
	failed     int // never became ready
	closed     int // ended after they were ready, though nobody asked for it
	undone     int
	extra      int // logux/processed too many
	failure    string
	pongs      int

	// What the loop does beside reading.
	parallel  int   // connect so many at a time; 0: none
	acting    bool  // each processed action is followed by the next
	pingEvery int64 // nanoseconds between two pings of a client; 0: none
	pinged    int64 // pings so far
	pingStart int64
	// everySecond, when set, is called about that often.
	everySecond func()
	second      int64

	events  []unix.EpollEvent
	in      []byte // scratch for reading
	out     []byte // scratch for writing
	message []byte // scratch for a message's text
}

// newFleet prepares n clients; channel says which channel a client subscribes to, none being -1.
func newFleet(server netip.AddrPort, path, name string, n, channels int, channel func(i int) int) (*fleet, error) {
	epoll, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("epoll: %w", err)
	}
	f := &fleet{
		epoll: epoll, servers: []netip.AddrPort{server}, path: path, name: name,
		clients: make([]client, n), tally: newTally(channels),
		events: make([]unix.EpollEvent, 256), in: make([]byte, 256<<10),
	}
	for i := range f.clients {
		f.clients[i] = client{fd: -1, channel: int32(channel(i))}
	}
	return f, nil
}

// close ends all connections with a reset, so that none of their ports waits for two minutes.
func (f *fleet) close() {
	for i := range f.clients {
		if c := &f.clients[i]; c.fd >= 0 {
			reset(c.fd)
			c.fd = -1
		}
	}
	if f.control != nil {
		f.control.close()
	}
	_ = unix.Close(f.epoll)
}

func reset(fd int32) {
	_ = unix.SetsockoptLinger(int(fd), unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1})
	_ = unix.Close(int(fd))
}

// What an event is about: its Pad, beside the index in Fd.
const (
	aboutClient = iota
	aboutControl
)

// run turns the loop until done holds or limit has passed; it reports which.
func (f *fleet) run(limit time.Duration, done func() bool) bool {
	deadline := now() + int64(limit)
	for !done() {
		at := now()
		if at >= deadline {
			return false
		}
		wait := min(f.work(at), deadline-at, int64(10*time.Millisecond))
		n, err := unix.EpollWait(f.epoll, f.events, int((wait+int64(time.Millisecond)-1)/int64(time.Millisecond)))
		if err != nil && err != unix.EINTR {
			f.fail("epoll: %v", err)
			return false
		}
		for _, event := range f.events[:max(n, 0)] {
			if event.Pad == aboutControl {
				f.control.event(int(event.Fd), event.Events)
			} else {
				f.event(int(event.Fd), event.Events)
			}
		}
	}
	return true
}

// pass turns the loop for some time.
func (f *fleet) pass(d time.Duration) { f.run(d, func() bool { return false }) }

// work does what is due at a time, and returns how long there is nothing more to do.
func (f *fleet) work(at int64) (idle int64) {
	for f.connecting < f.parallel && f.opened < len(f.clients) {
		f.open(f.opened)
		f.opened++
	}
	idle = int64(time.Second)
	if f.control != nil {
		idle = f.control.work(at)
	}
	if f.pingEvery > 0 {
		step := f.pingEvery / int64(len(f.clients))
		for ; f.pinged*step <= at-f.pingStart; f.pinged++ {
			f.ping(int(f.pinged % int64(len(f.clients))))
		}
		idle = min(idle, f.pingStart+f.pinged*step-at)
	}
	if f.everySecond != nil && at-f.second > int64(time.Second) {
		f.second = at
		f.everySecond()
	}
	return max(idle, 0)
}

// event is what epoll says about a client.
func (f *fleet) event(i int, events uint32) {
	c := &f.clients[i]
	if c.fd < 0 {
		return
	}
	if events&unix.EPOLLOUT != 0 {
		f.writable(i, c)
	}
	if events&^unix.EPOLLOUT != 0 && c.fd >= 0 {
		f.readable(i, c)
	}
}

// server is where client i is.
func (f *fleet) server(i int) netip.AddrPort {
	if f.at == nil {
		return f.servers[0]
	}
	return f.servers[f.at(i)]
}

// nodeID is client i's.
func (f *fleet) nodeID(i int) string {
	if f.user != "" {
		return f.user + ":" + f.name + strconv.Itoa(i) + ":t"
	}
	return f.name + strconv.Itoa(i) + ":c:t"
}

// perSource is how many connections one source address gets. The kernel looks for a free port
// much longer when half of a source's ports are taken.
const perSource = 12_000

// open begins the connection of client i.
func (f *fleet) open(i int) {
	c := &f.clients[i]
	f.connecting++
	c.state = dialing
	c.since = now()
	if f.at != nil && f.at(i) != 0 {
		c.place.side = 1
	}
	fd, err := dial(f.server(i), i/perSource)
	if err != nil {
		f.lose(c, "connect: %v", err)
		return
	}
	c.fd = int32(fd)
	event := unix.EpollEvent{Fd: int32(i), Pad: aboutClient, Events: unix.EPOLLOUT}
	if err := unix.EpollCtl(f.epoll, unix.EPOLL_CTL_ADD, fd, &event); err != nil {
		f.lose(c, "epoll: %v", err)
	}
}

// dial begins a connection to server from the source-th loopback address; servers elsewhere are called
// from whatever address the system chooses.
func dial(server netip.AddrPort, source int) (fd int, err error) {
	family := unix.AF_INET
	if server.Addr().Is6() {
		family = unix.AF_INET6
	}
	fd, err = unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, err
	}
	_ = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)
	var to unix.Sockaddr
	if server.Addr().Is6() {
		to = &unix.SockaddrInet6{Addr: server.Addr().As16(), Port: int(server.Port())}
	} else {
		to = &unix.SockaddrInet4{Addr: server.Addr().As4(), Port: int(server.Port())}
		if source > 0 && server.Addr().IsLoopback() {
			_ = unix.SetsockoptInt(fd, unix.SOL_IP, unix.IP_BIND_ADDRESS_NO_PORT, 1)
			err = unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, byte(1 + source)}})
		}
	}
	if err == nil {
		err = unix.Connect(fd, to)
	}
	if err != nil && err != unix.EINPROGRESS {
		_ = unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

// watch changes what epoll looks for at client i.
func (f *fleet) watch(i int, c *client, events uint32) {
	event := unix.EpollEvent{Fd: int32(i), Pad: aboutClient, Events: events}
	if err := unix.EpollCtl(f.epoll, unix.EPOLL_CTL_MOD, int(c.fd), &event); err != nil {
		f.lose(c, "epoll: %v", err)
	}
}

// lose ends a client that nobody wanted to end.
func (f *fleet) lose(c *client, format string, args ...any) {
	switch c.state {
	case ready:
		f.closed++
		f.connected--
	default:
		f.failed++
		f.connecting--
	}
	c.state = gone
	if c.fd >= 0 {
		_ = unix.Close(int(c.fd))
		c.fd = -1
	}
	c.in, c.out = nil, nil
	f.fail(format, args...)
}

// fail keeps the first thing that went wrong, for the report.
func (f *fleet) fail(format string, args ...any) {
	if f.failure == "" {
		f.failure = fmt.Sprintf(format, args...)
	}
}
