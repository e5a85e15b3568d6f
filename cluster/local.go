package cluster

import (
	"errors"
	"slices"
	"sync"
	"sync/atomic"

	"logux-proxy/wire"
)

// ErrDetached is returned for a Port that was detached.
var ErrDetached = errors.New("cluster: the server is detached from the bus")

// A Receiver is a server that envelopes arrive at.
type Receiver interface {
	// Receive takes an envelope of another server, of whatever kind: those that it does not know are of a newer
	// release and to be left alone. It must not block, and must not change e, which
	// others receive too. It is called by the goroutines that publish, several at once.
	Receive(e *wire.Envelope)
}

// A Local is a bus in memory, for servers of one process. It has no goroutine and no queue:
// Publish calls the receivers, so that what one goroutine publishes arrives in its order.
type Local struct {
	attached atomic.Int32 // ports; read without mu where it is only about being alone

	mu sync.RWMutex
	// Guarded by mu.
	topics map[wire.Topic][]interest
}

// An interest is how often a port has joined a topic and not left it.
type interest struct {
	port  *Port
	joins int
}

// NewLocal returns a bus without servers.
func NewLocal() *Local { return &Local{topics: make(map[wire.Topic][]interest)} }

// A Port is one server's place on a Local. Any goroutine may call its methods; none blocks.
type Port struct {
	// Static.
	local    *Local
	server   wire.NodeID
	receiver Receiver

	// Guarded by local.mu.
	detached bool
}

// Attach gives a server its place on the bus.
func (l *Local) Attach(server wire.NodeID, r Receiver) *Port {
	l.attached.Add(1)
	return &Port{local: l, server: server, receiver: r}
}

// Server is the ID that Attach was given.
func (p *Port) Server() wire.NodeID { return p.server }

// Join makes envelopes for topic arrive; done is called once, before Join returns. Joins count:
// each needs one Leave, also one that failed.
func (p *Port) Join(topic wire.Topic, done func(error)) { done(p.join(topic)) }

func (p *Port) join(topic wire.Topic) error {
	l := p.local
	l.mu.Lock()
	defer l.mu.Unlock()
	if p.detached {
		return ErrDetached
	}
	interests := l.topics[topic]
	for i := range interests {
		if interests[i].port == p {
			interests[i].joins++
			return nil
		}
	}
	l.topics[topic] = append(interests, interest{port: p, joins: 1})
	return nil
}

// Leave takes one Join back. Envelopes for topic stop arriving with the last one.
func (p *Port) Leave(topic wire.Topic) {
	l := p.local
	l.mu.Lock()
	defer l.mu.Unlock()
	interests := l.topics[topic]
	for i := range interests {
		if interests[i].port != p {
			continue
		}
		if interests[i].joins--; interests[i].joins == 0 {
			l.keepLocked(topic, slices.Delete(interests, i, i+1))
		}
		return
	}
}

// Publish hands e to every other server with an interest in one of its topics, to each once, and
// returns when they have it.
func (p *Port) Publish(e *wire.Envelope) error {
	l := p.local
	if l.attached.Load() == 1 {
		return nil
	}
	receivers, err := p.receivers(e.Topics())
	if err != nil {
		return err
	}
	for _, to := range receivers {
		to.receiver.Receive(e)
	}
	return nil
}

// PublishThen is Publish, and calls done before it returns.
func (p *Port) PublishThen(e *wire.Envelope, done func()) error {
	if err := p.Publish(e); err != nil {
		return err
	}
	done()
	return nil
}

// CaughtUp calls then at once: all servers of one process stand still together.
func (p *Port) CaughtUp(then func()) { then() }

// Announce hands e on like Publish and calls done, once and before it returns, with how many other servers have
// it: -1 when it could not be published.
func (p *Port) Announce(e *wire.Envelope, done func(others int)) {
	receivers, err := p.receivers(e.Topics())
	if err != nil {
		done(-1)
		return
	}
	for _, to := range receivers {
		to.receiver.Receive(e)
	}
	done(len(receivers))
}

// receivers returns the other ports with an interest in one of topics.
func (p *Port) receivers(topics []wire.Topic) (ports []*Port, err error) {
	l := p.local
	l.mu.RLock()
	defer l.mu.RUnlock()
	if p.detached {
		return nil, ErrDetached
	}
	for _, topic := range topics {
		for _, in := range l.topics[topic] {
			if in.port != p && !slices.Contains(ports, in.port) {
				ports = append(ports, in.port)
			}
		}
	}
	return ports, nil
}

// Detach takes the server off the bus with everything it joined. A Receive that began before may
// still be going on when it returns.
func (p *Port) Detach() {
	l := p.local
	l.mu.Lock()
	defer l.mu.Unlock()
	if p.detached {
		return
	}
	p.detached = true
	l.attached.Add(-1)
	for topic, interests := range l.topics {
		l.keepLocked(topic, slices.DeleteFunc(interests, func(in interest) bool { return in.port == p }))
	}
}

func (l *Local) keepLocked(topic wire.Topic, interests []interest) {
	if len(interests) == 0 {
		delete(l.topics, topic)
		return
	}
	l.topics[topic] = interests
}
