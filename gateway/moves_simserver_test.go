package gateway

import (
	"fmt"
	"reflect"
	"slices"
	"sync"
	"time"
	"unsafe"

	"logux-proxy/gateway/transport"
	"logux-proxy/wire"
)

// A nomadServer is one life of a server in a simulation.
type nomadServer struct {
	s      *nomadSim
	index  int
	number int // of the life
	life   wire.ServerID
	g      *Gateway
	dead   bool
	died   time.Duration
	away   time.Duration // until when the store cannot be reached
	joined map[wire.Topic]int
	heard  map[wire.Topic]bool // the bus knows
	conns  []*nomadConn
	asked  inquiries
}

// gossipDelay is after how long a death is known.
const gossipDelay = 3 * time.Second

func (s *nomadSim) boot(index, number int) {
	srv := &nomadServer{
		s: s, index: index, number: number, life: wire.ServerID(fmt.Sprintf("server:%c/%d-X", 'a'+rune(index), number)),
		joined: make(map[wire.Topic]int), heard: make(map[wire.Topic]bool),
	}
	c := Config{
		Backend: nomadBackend{srv}, Bus: &nomadPort{srv}, Attempts: new(attempts), Life: srv.life,
		Handovers: newNomadQueue(srv), Alive: s.alive,
	}
	c.Session.Server = srv.life.Node()
	c.Session.AckLimit = time.Hour
	if s.claims {
		c.Session.AckLimit = 400 * time.Millisecond
	}
	var err error
	if srv.g, err = New(c); err != nil {
		s.t.Fatal(err)
	}
	if number == 1 {
		s.servers = append(s.servers, srv)
	} else {
		s.servers[index] = srv
	}
	s.lives = append(s.lives, srv)
	srv.every(inquireEvery, func() { srv.g.inquireAll(time.Now(), &srv.asked) })
	srv.every(30*time.Second, func() { srv.g.ledger.sweep(time.Since(srv.g.start) - srv.g.cfg.Remember) })
	if s.crashes && !s.calm {
		srv.after(2*time.Second+upTo(s.rnd, 30*time.Second), srv.crash)
	}
	if s.failures {
		srv.after(upTo(s.rnd, 15*time.Second), srv.loseStore)
	}
}

// alive is what the gossip says.
func (s *nomadSim) alive(life wire.ServerID) bool {
	for _, srv := range s.lives {
		if srv.life == life {
			return !srv.dead || s.now() < srv.died+gossipDelay
		}
	}
	return false
}

// after makes f happen if the server lives then.
func (srv *nomadServer) after(d time.Duration, f func()) { srv.at(srv.s.now()+d, f) }

func (srv *nomadServer) at(at time.Duration, f func()) {
	srv.s.at(at, func() {
		if !srv.dead {
			f()
		}
	})
}

func (srv *nomadServer) every(d time.Duration, f func()) {
	srv.after(d, func() { f(); srv.every(d, f) })
}

// crash ends the server; another life begins.
func (srv *nomadServer) crash() {
	s := srv.s
	if s.calm {
		return
	}
	s.note("%s dies", srv.life)
	srv.dead, srv.died = true, s.now()
	for _, c := range srv.conns {
		s.after(upTo(s.rnd, 2*time.Second), func() { c.who.ended(c) })
	}
	srv.conns = nil
	s.after(10*time.Second+upTo(s.rnd, 3*time.Second), func() { s.store.takeOver(srv) })
	s.after(upTo(s.rnd, 15*time.Second), func() { s.boot(srv.index, srv.number+1) })
}

// loseStore keeps the server from the store for a while.
func (srv *nomadServer) loseStore() {
	if srv.s.calm {
		return
	}
	srv.away = srv.s.now() + upTo(srv.s.rnd, 5*time.Second)
	srv.s.note("%s is away from the store until %v", srv.life, srv.away)
	srv.after(upTo(srv.s.rnd, 30*time.Second), srv.loseStore)
}

// nomadBackend is the back-end of a server.
type nomadBackend struct{ srv *nomadServer }

// Authenticate implements Backend.
func (b nomadBackend) Authenticate(a *wire.Auth, done func(wire.Answer, error)) {
	b.srv.after(long(b.srv.s.rnd), func() {
		done(wire.Answer{Kind: wire.AnswerAuthenticated, Subprotocol: wire.RawJSON(`9`)}, nil)
	})
}

// Process implements Backend.
func (b nomadBackend) Process(c *wire.Command, answer func(wire.Answer), done func(wire.Answer, error)) {
	b.srv.s.post(func() {
		if !b.srv.dead {
			b.process(c.Action.ID, answer, done)
		}
	})
}

func (b nomadBackend) process(id wire.ActionID, answer func(wire.Answer), done func(wire.Answer, error)) {
	s := b.srv.s
	s.ask(b.srv, id)
	r := s.client(id.Client()).rnd
	took := long(r)
	if r.IntN(4) == 0 {
		took = upTo(r, 4*time.Second)
	}
	kind := wire.AnswerProcessed
	if r.IntN(8) == 0 {
		kind = wire.AnswerForbidden
	}
	b.srv.after(took, func() {
		s.answered(b.srv, id)
		s.note("%s hears of %s: %v", b.srv.life, id, kind)
		if kind == wire.AnswerProcessed {
			answer(wire.Answer{Kind: wire.AnswerApproved})
		}
		done(wire.Answer{Kind: kind}, nil)
	})
}

func (s *nomadSim) client(id wire.ClientID) *nomad {
	for _, c := range s.clients {
		if c.node.Client() == id {
			return c
		}
	}
	panic("nobody is called " + id)
}

// A nomadConn is a connection, with a loop of its own that nothing but the simulation turns. It does by hand what a
// transport.Server does with sockets; so it sets what is not exported.
type nomadConn struct {
	s   *nomadSim
	srv *nomadServer
	who *nomad
	h   *handler
	l   *transport.Loop
	c   *transport.Conn
	p   *peer

	mu      *sync.Mutex // the loop's
	inbox   *[]transport.Task
	out     *[]byte
	phase   *uint8
	turning bool
	ending  bool          // it closes
	closed  bool          // the handler was told
	timer   time.Duration // what wakes it
	up      time.Duration // when the last message comes to the server
	down    time.Duration // and to the client
}

// hidden is a field of a struct of another package.
func hidden[T any](v any, name string) *T {
	f := reflect.ValueOf(v).Elem().FieldByName(name)
	return (*T)(unsafe.Pointer(f.UnsafeAddr())) //nolint:gosec // see nomadConn
}

const (
	simPhaseOpen   = 1
	simPhaseLinger = 3
	simPhaseDead   = 4
)

func (srv *nomadServer) open(who *nomad) *nomadConn {
	c := &nomadConn{s: srv.s, srv: srv, who: who, l: new(transport.Loop), c: new(transport.Conn)}
	*hidden[*transport.Loop](c.c, "loop") = c.l
	*hidden[*transport.Conn](c.l, "visiting") = c.c
	c.mu = hidden[sync.Mutex](c.l, "mu")
	c.inbox, c.out, c.phase = hidden[[]transport.Task](c.l, "inbox"), hidden[[]byte](c.l, "out"), hidden[uint8](c.c, "phase")
	*c.phase = simPhaseOpen
	c.h = &handler{g: srv.g, loop: c.l, decoder: wire.Decoder{MaxDepth: srv.g.cfg.MaxDepth}}
	srv.conns = append(srv.conns, c)
	c.visit(func() {
		c.h.Open(c.c, new(transport.Request))
		c.p = c.c.Data.(*peer)
	})
	return c
}

// visit does something on the connection's loop, and what follows.
func (c *nomadConn) visit(f func()) {
	if c.srv.dead {
		return
	}
	*hidden[time.Duration](c.l, "now") = time.Since(c.srv.g.start) + 1
	*hidden[int64](c.l, "wall") = time.Now().UnixMilli()
	f()
	if c.closed {
		return
	}
	if *c.phase == simPhaseOpen {
		c.h.Flush(c.c)
	}
	if len(*c.out) > 0 {
		data := slices.Clone(*c.out)
		*c.out = (*c.out)[:0]
		c.down = max(c.down, c.s.now()+long(c.who.rnd)) + 1
		c.s.at(c.down, func() { c.who.receive(c, data) })
	}
	if *c.phase != simPhaseOpen && !c.ending {
		c.ending = true
		c.srv.after(upTo(c.who.rnd, time.Second), c.close)
	}
	if at := c.p.timer; !c.ending && at != 0 && (c.timer == 0 || at < c.timer) {
		c.timer = at
		c.srv.after(max(0, at-c.l.Now())+short(c.who.rnd), c.tick)
	}
}

// tick is the connection's timer.
func (c *nomadConn) tick() {
	c.timer = 0
	if c.closed || c.ending {
		return
	}
	c.visit(func() {
		if c.p.timer != 0 && c.p.timer <= c.l.Now() {
			c.h.Timer(c.c)
		}
	})
}

// has reports whether something was posted to the loop.
func (c *nomadConn) has() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(*c.inbox) > 0
}

// turn runs what was posted to the loop.
func (c *nomadConn) turn() {
	c.turning = false
	c.visit(func() {
		c.mu.Lock()
		tasks := *c.inbox
		*c.inbox = nil
		c.mu.Unlock()
		for _, t := range tasks {
			t.Run(c.l)
		}
	})
}

// send is a message of the client.
func (c *nomadConn) send(text string) {
	c.up = max(c.up, c.s.now()+long(c.who.rnd)) + 1
	c.srv.at(c.up, func() {
		if !c.closed && *c.phase == simPhaseOpen {
			c.visit(func() { c.h.Message(c.c, []byte(text)) })
		}
	})
}

// close tells the handler that the connection is gone.
func (c *nomadConn) close() {
	if c.closed {
		return
	}
	c.visit(func() {
		c.closed = true
		*c.phase = simPhaseLinger
		c.h.Closed(c.c, transport.CloseNetwork)
		*c.phase = simPhaseDead
	})
}
