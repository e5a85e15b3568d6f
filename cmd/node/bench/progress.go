package bench

import (
	"context"
	"fmt"
	"time"
)

// Progress is how a run stands.
type Progress struct {
	After      time.Duration
	Ready      int // clients connected and subscribed
	Clients    int // asked for
	Actions    float64
	Deliveries float64 // both a second, in the last second
	Errors     int64
}

// String is one line for a terminal.
func (p *Progress) String() string {
	return fmt.Sprintf("%4.0fs  %d of %d clients  %.0f actions/s  %.0f deliveries/s  %d errors",
		p.After.Seconds(), p.Ready, p.Clients, p.Actions, p.Deliveries, p.Errors)
}

// showProgress calls show about once a second until the function that it returns is called.
func (l *load) showProgress(show func(*Progress)) (end func()) {
	if show == nil {
		return func() {}
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		begin := now()
		before, last := l.book.look(), begin
		for i := int64(1); sleepUntil(ctx, begin+i*int64(time.Second)); i++ {
			at, current := now(), l.book.look()
			took := seconds(at - last)
			show(&Progress{
				After: time.Duration(at - begin), Ready: current.ready, Clients: len(l.clients), Errors: current.faults,
				Actions: float64(current.actions-before.actions) / took, Deliveries: float64(current.delivered-before.delivered) / took,
			})
			before, last = current, at
		}
	}()
	return func() {
		cancel()
		<-done
	}
}

// sums are some of the book's at one moment.
type sums struct {
	ready                      int
	actions, delivered, faults int64
}

func (b *book) look() sums {
	b.mu.Lock()
	defer b.mu.Unlock()
	s := sums{ready: b.ready, actions: int64(len(b.actions)), delivered: b.delivered}
	for _, n := range b.faults {
		s.faults += n
	}
	return s
}
