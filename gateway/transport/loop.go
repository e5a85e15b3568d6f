package transport

import (
	"fmt"
	"sync"
	"time"

	"go.uber.org/zap"
	"golang.org/x/time/rate"

	"logux-proxy/gateway/transport/poll"
)

const (
	readBuffer   = 64 << 10
	eventsPerGet = 256
	// keptStructs is how many unused inbounds and outboxes a loop keeps.
	keptStructs = 256
)

// A Loop owns connections. Its methods but Post are for its own goroutine.
type Loop struct {
	// Static
	index   int
	server  *Server
	handler Handler
	limits  *Limits
	log     *zap.Logger
	clock   func() time.Time
	start   time.Time
	poller  *poll.Poller // from the beginning of run

	// Guarded by mu
	mu        sync.Mutex
	inbox     []Task
	arrivals  []arrival
	asleep    bool // the loop waits and must be woken
	ended     bool
	published Stats

	// Owned by the loop
	now      time.Duration
	wall     int64
	slots    slots
	wheel    wheel
	pool     buffers
	rules    frameRules
	stats    Stats
	visiting *Conn  // whose output Send appends to out
	out      []byte // the output of the visit under way
	spare    []byte // the other buffer of spill
	frame    []byte // a frame sent outside of its connection's visit
	buf      []byte // what was just read
	events   []poll.Event
	tasks    []Task // those being run; swapped with inbox
	arriving []arrival
	woken    queue
	upgrader *upgrader
	deflate  *deflater
	listener *listener // of the first loop
	inbounds []*inbound
	outboxes []*outbox
	stopping bool
	// originLog keeps a peer from filling the log: a hundred lines, then one a second.
	originLog rate.Sometimes
}

// queue is the list of connections to visit, in the order in which they were woken.
type queue struct{ first, last *Conn }

func newLoop(s *Server, index int) *Loop {
	l := &Loop{
		index:  index,
		server: s,
		limits: &s.config.Limits,
		log:    s.config.Log,
		clock:  time.Now,
		start:  time.Now(),
		buf:    make([]byte, readBuffer),
		events: make([]poll.Event, eventsPerGet),

		originLog: rate.Sometimes{First: 100, Interval: time.Second},
	}
	l.rules = frameRules{message: l.limits.Message, fragments: l.limits.Fragments, pool: &l.pool}
	l.upgrader = newUpgrader(l)
	l.handler = s.config.NewHandler(l)
	return l
}

// Index is the loop's number, from 0.
func (l *Loop) Index() int { return l.index }

// Handler returns what NewHandler made for l.
func (l *Loop) Handler() Handler { return l.handler }

// Now is the monotonic time of this turn, since an arbitrary start.
func (l *Loop) Now() time.Duration { return l.now }

// Wall is the time of this turn in milliseconds since 1970.
func (l *Loop) Wall() int64 { return l.wall }

// Each calls f for every upgraded connection of the loop whose Closed was not called yet.
func (l *Loop) Each(f func(c *Conn)) {
	for i := range l.slots.places {
		if c := l.slots.places[i].conn; c != nil && c.known {
			f(c)
		}
	}
}

// EachFrom is Each, but begins at the place from, which may be any number that is not negative, and ends after one round
// or when f reports false. It returns the place to go on from.
func (l *Loop) EachFrom(from int, f func(c *Conn) bool) (next int) {
	n := len(l.slots.places)
	for i := range n {
		at := (from + i) % n
		if c := l.slots.places[at].conn; c != nil && c.known && !f(c) {
			return at + 1
		}
	}
	return from
}

// Post hands t to the loop. Tasks run in the order of posting. Any goroutine may call it; it never
// blocks. It reports false when the loop has ended, and t will not run.
func (l *Loop) Post(t Task) bool {
	if !l.lock() {
		return false
	}
	l.inbox = append(l.inbox, t)
	l.unlock()
	return true
}

// arrive hands an accepted socket to the loop. It reports false when the loop has ended.
func (l *Loop) arrive(a arrival) bool {
	if !l.lock() {
		return false
	}
	l.arrivals = append(l.arrivals, a)
	l.unlock()
	return true
}

// lock locks what others hand to the loop, unless the loop has ended.
func (l *Loop) lock() bool {
	l.mu.Lock()
	if l.ended {
		l.mu.Unlock()
		return false
	}
	return true
}

// unlock ends lock, and wakes the loop for what was handed to it.
func (l *Loop) unlock() {
	wake := l.asleep
	l.asleep = false
	l.mu.Unlock()
	if wake {
		l.poller.Wake()
	}
}

// run is the loop. It returns when everything is closed after stop, or when the poller fails.
func (l *Loop) run() error {
	defer l.end()
	l.tell()
	for !l.stopping || l.slots.count > 0 {
		if err := l.turn(l.rest()); err != nil {
			return fmt.Errorf("transport: loop %d: %w", l.index, err)
		}
	}
	return nil
}

// turn waits for something to do, and does all of it.
func (l *Loop) turn(timeout time.Duration) error {
	n, err := l.poller.Wait(l.events, timeout)
	if err != nil {
		return err
	}
	l.tell()
	l.stats.Turns++
	for i := range n {
		l.event(&l.events[i])
	}
	l.takeInbox()
	for t := l.wheel.pop(l.now); t != nil; t = l.wheel.pop(l.now) {
		l.fire(t)
	}
	l.visitWoken()
	return nil
}

// tell reads the clock, once a turn.
func (l *Loop) tell() {
	t := l.clock()
	l.now = t.Sub(l.start)
	l.wall = t.UnixMilli()
}

// rest says how long the loop may sleep, and lets Post know that it must be woken.
func (l *Loop) rest() time.Duration {
	timeout := time.Duration(0)
	if l.woken.first == nil {
		timeout = l.wheel.wait(l.clock().Sub(l.start))
	}
	l.mu.Lock()
	if len(l.inbox)+len(l.arrivals) > 0 {
		timeout = 0
	}
	l.asleep = timeout != 0
	l.published = l.stats
	l.mu.Unlock()
	return timeout
}

// event deals with what the poller saw.
func (l *Loop) event(ev *poll.Event) {
	if l.listener != nil && ev.Token == listenerToken {
		l.listener.accept(l)
		return
	}
	c := l.slots.find(ev.Token)
	if c == nil {
		return
	}
	if ev.Writable && c.blocked {
		l.writable(c)
	}
	switch {
	case c.phase == phaseDead:
	case ev.Readable && !c.paused, ev.Broken && !c.paused:
		l.readable(c)
	case ev.Broken:
		// Nobody wants to read it, and it would be reported for ever.
		c.failed(CloseNetwork)
	}
}

// writable is the visit of a connection whose socket takes output again.
func (l *Loop) writable(c *Conn) {
	c.blocked = false
	l.enter(c)
	l.leave(c)
}

// enter begins a visit of c: until leave, what is sent gathers in l.out.
func (l *Loop) enter(c *Conn) {
	l.visiting = c
	if c.out != nil && !c.blocked {
		c.drain()
	}
}

// leave ends the visit.
func (l *Loop) leave(c *Conn) {
	if c.phase == phaseOpen && c.out == nil && !c.broken {
		l.handler.Flush(c)
	}
	for len(l.out) > 0 {
		c.spill()
	}
	l.visiting = nil
	c.settle()
}

// wake appends c to the list of visits.
func (l *Loop) wake(c *Conn) {
	c.next = nil
	if l.woken.last == nil {
		l.woken.first = c
	} else {
		l.woken.last.next = c
	}
	l.woken.last = c
}

// visitWoken visits those that were woken in this turn. Who is woken by that has its visit in the
// next turn, after the sockets had theirs.
func (l *Loop) visitWoken() {
	c := l.woken.first
	l.woken = queue{}
	for c != nil {
		next := c.next
		c.next, c.woken = nil, false
		if c.phase != phaseDead {
			l.visit(c)
		}
		c = next
	}
}

func (l *Loop) visit(c *Conn) {
	if c.pipe != nil {
		if c.pipe.deliver(c); c.phase == phaseDead {
			return
		}
	}
	l.enter(c)
	if !c.paused {
		c.readRest()
	}
	l.leave(c)
}

// takeInbox runs what was posted until now.
func (l *Loop) takeInbox() {
	l.mu.Lock()
	l.tasks, l.inbox = l.inbox, l.tasks[:0]
	l.arriving, l.arrivals = l.arrivals, l.arriving[:0]
	l.mu.Unlock()
	for i := range l.arriving {
		l.adopt(&l.arriving[i])
	}
	l.stats.Tasks += int64(len(l.tasks))
	for i, t := range l.tasks {
		l.tasks[i] = nil
		t.Run(l)
	}
	if cap(l.tasks) > 64<<10 {
		l.tasks = nil // a burst is over
	}
	clear(l.arriving)
}

// fire deals with a timer that has come.
func (l *Loop) fire(t *timer) {
	if t.kind == timerAccept {
		l.listener.resume(l)
		return
	}
	t.conn.timeout(t.kind)
}

// stop is the task that ends a loop.
type stop struct{}

// Run implements Task.
func (stop) Run(l *Loop) {
	l.stopping = true
	if l.listener != nil {
		l.listener.close(l)
	}
	for i := range l.slots.places {
		c := l.slots.places[i].conn
		switch {
		case c == nil:
		case c.phase == phaseHead:
			c.drop()
		default:
			c.Close(1001, "server is going away", CloseShutdown)
		}
	}
}

// end runs what was posted in time and lets nobody post any more.
func (l *Loop) end() {
	for _, p := range l.slots.places {
		if p.conn != nil {
			p.conn.doom(CloseShutdown)
			p.conn.drop()
		}
	}
	l.stopping = true
	for {
		l.takeInbox()
		l.mu.Lock()
		if len(l.inbox)+len(l.arrivals) == 0 {
			l.ended = true
			l.published = l.stats
			l.mu.Unlock()
			return
		}
		l.mu.Unlock()
	}
}

// deflater returns the loop's deflater.
func (l *Loop) deflater() *deflater {
	if l.deflate == nil {
		l.deflate = newDeflater()
	}
	return l.deflate
}
