package cluster

import (
	"context"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"logux-proxy/wire"
)

// attemptsEvery is how long wrong attempts are gathered before the other servers hear of them.
const attemptsEvery = 250 * time.Millisecond

// Bounds of one message of attempts.
const (
	attemptsMost  = 4096 // addresses
	attemptsCount = 3    // more attempts of one address in that time say nothing new
	attemptsSize  = 17   // bytes of an address in a message: how often, and the address as IPv6
)

// Attempts tells the other servers of wrong credentials by address, so that guessing is no easier with many
// servers. Any goroutine may call Failed; it does not block.
type Attempts struct {
	// Static.
	lane  *Lane
	other func(ip netip.Addr, times int)
	log   *zap.Logger
	wake  chan struct{}

	told, heard, dropped atomic.Int64

	mu sync.Mutex
	// Guarded by mu.
	gathered map[netip.Addr]uint8
}

// AttemptsStats counts attempts since the start.
type AttemptsStats struct {
	Told    int64 // attempts here, told to all other servers
	Heard   int64 // attempts elsewhere
	Dropped int64 // attempts that were too many to tell, or that a server could not be told of
}

// NewAttempts gives other the wrong attempts that other servers see: how often an address failed there just now, at most
// three times. It is called by goroutines of the links and must not block, nor call Failed.
func NewAttempts(links *Links, log *zap.Logger, other func(ip netip.Addr, times int)) *Attempts {
	a := &Attempts{other: other, log: log, wake: make(chan struct{}, 1), gathered: make(map[netip.Addr]uint8)}
	a.lane = links.Lane(KindAttempts, a.receive)
	return a
}

// Failed notes a wrong attempt here. The others know of it half a second later.
func (a *Attempts) Failed(ip netip.Addr) {
	if !ip.IsValid() {
		return
	}
	ip = ip.Unmap().WithZone("")
	a.mu.Lock()
	n, known := a.gathered[ip]
	switch {
	case !known && len(a.gathered) >= attemptsMost:
		a.dropped.Add(1)
	case n < attemptsCount:
		a.gathered[ip] = n + 1
	}
	a.mu.Unlock()
	if !known {
		select {
		case a.wake <- struct{}{}:
		default:
		}
	}
}

// Run tells the others until ctx ends.
func (a *Attempts) Run(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-a.wake:
		}
		timer.Reset(attemptsEvery)
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
			a.tell()
		}
	}
}

// tell sends what was gathered to every other server.
func (a *Attempts) tell() {
	a.mu.Lock()
	gathered := a.gathered
	a.gathered = make(map[netip.Addr]uint8)
	a.mu.Unlock()
	if len(gathered) == 0 {
		return
	}
	frame := make([]byte, 0, len(gathered)*attemptsSize)
	sum := int64(0)
	for ip, n := range gathered {
		address := ip.As16()
		frame = append(append(frame, n), address[:]...)
		sum += int64(n)
	}
	a.told.Add(sum)
	for _, peer := range a.lane.Peers() {
		if err := a.lane.Send(peer, frame); err != nil {
			a.dropped.Add(sum)
			a.log.Debug("A server was not told of wrong attempts", zap.String("server", string(peer)), zap.Error(err))
		}
	}
}

// receive takes what another server has seen.
func (a *Attempts) receive(_ wire.NodeID, frame []byte) {
	for len(frame) >= attemptsSize {
		n, ip := min(int(frame[0]), attemptsCount), netip.AddrFrom16([16]byte(frame[1:attemptsSize])).Unmap()
		frame = frame[attemptsSize:]
		if n > 0 {
			a.heard.Add(int64(n))
			a.other(ip, n)
		}
	}
}

// Stats returns the counters.
func (a *Attempts) Stats() AttemptsStats {
	return AttemptsStats{Told: a.told.Load(), Heard: a.heard.Load(), Dropped: a.dropped.Load()}
}
