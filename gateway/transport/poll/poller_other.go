//go:build !linux

package poll

import (
	"errors"
	"time"
)

// Native reports whether this system's Poller watches descriptors.
const Native = false

// A Poller waits for Wake or a timeout; it watches nothing here.
type Poller struct {
	wake  chan struct{}
	timer *time.Timer
}

// New opens a Poller.
func New() (*Poller, error) {
	t := time.NewTimer(time.Hour)
	t.Stop()
	return &Poller{wake: make(chan struct{}, 1), timer: t}, nil
}

// Close releases the Poller. No other call may be under way or follow.
func (p *Poller) Close() error { return nil }

// Add is not possible here.
func (p *Poller) Add(int, uint64, Interest) error { return errors.ErrUnsupported }

// Change is not possible here.
func (p *Poller) Change(int, uint64, Interest) error { return errors.ErrUnsupported }

// Remove is not possible here.
func (p *Poller) Remove(int) error { return errors.ErrUnsupported }

// Wait returns 0 after Wake or when timeout has passed; a negative timeout is none, 0 only looks.
func (p *Poller) Wait(_ []Event, timeout time.Duration) (int, error) {
	switch {
	case timeout == 0:
		select {
		case <-p.wake:
		default:
		}
	case timeout < 0:
		<-p.wake
	default:
		p.timer.Reset(timeout)
		select {
		case <-p.wake:
			p.timer.Stop()
		case <-p.timer.C:
		}
	}
	return 0, nil
}

// Wake makes the Wait under way, or else the next one, return soon.
func (p *Poller) Wake() {
	select {
	case p.wake <- struct{}{}:
	default:
	}
}
