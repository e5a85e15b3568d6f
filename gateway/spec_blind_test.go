package gateway

import (
	"sync/atomic"
	"testing"
	"time"

	"logux-proxy/wire"
)

// blindBus is a bus that cannot say how many servers an announcement reaches, and holds a server's answers back.
type blindBus struct {
	Bus
	answers atomic.Int32
	held    chan struct{} // nil: nothing is held back
}

func (b *blindBus) Announce(e *wire.Envelope, done func(others int)) {
	b.Bus.Announce(e, func(int) { done(unknown) })
}

func (b *blindBus) Publish(e *wire.Envelope) error { return b.PublishThen(e, func() {}) }

func (b *blindBus) PublishThen(e *wire.Envelope, done func()) error {
	if e.Kind != wire.KindRecord || b.held == nil {
		return b.Bus.PublishThen(e, done)
	}
	b.answers.Add(1)
	go func() {
		<-b.held
		_ = b.Bus.PublishThen(e, done)
	}()
	return nil
}

// While the bus is being mended nobody knows who has something to say about a client, and the server that it left may
// hear of it late: its actions wait until all servers have answered.
func TestMovesWhileTheBusIsMended(t *testing.T) {
	f := newFleet(t)
	late := &blindBus{held: make(chan struct{})}
	a := f.server("a", func(c *Config) { late.Bus, c.Bus = c.Bus, late })
	b := f.server("b", func(c *Config) { c.Bus, c.Peers = &blindBus{Bus: c.Bus}, func() int { return 1 } })
	c := a.connect("10:a:tab")
	id := c.act(1, inc)
	q := f.backend.next(t, inc)
	c = b.connect("10:a:tab")
	c.act(1, inc)
	await(t, "an answer", func() bool { return late.answers.Load() == 1 })
	// Longer than they wait when it is known who answers.
	<-time.After(arrivalPatience + arrivalPatience/2)
	c.alive()
	f.backend.idle(t)
	close(late.held)
	q.agree()
	c.wantAll("synced 1", processedEvent(id))
	if n := f.backend.count(id); n != 1 {
		t.Errorf("the back-end was asked %d times", n)
	}
}
