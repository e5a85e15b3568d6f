package cluster

import (
	"context"
	"math/rand/v2"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"time"

	"go.uber.org/zap"
)

// A Resolver looks names up. *net.Resolver is one.
type Resolver interface {
	// LookupNetIP returns the addresses of host; network is "ip".
	LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error)
}

// memberlist neither looks for servers on its own, nor comes back to those that a broken network took
// away. So the names of Config.Join are looked up again and again, and whoever they lead to that is no member is joined;
// and so is whoever was a member and did not say goodbye. A server that finds nobody is a cluster of one.
const (
	joinAtOnce   = 8                // addresses asked side by side
	joinRound    = 64               // addresses asked in one round
	joinEvery    = 10 * time.Second // between rounds
	joinFirst    = time.Second      // between rounds while there is nobody, doubled each time
	joinTick     = time.Second      // how often the joiner looks whether this process was held up
	joinSlept    = 4 * time.Second  // between two ticks: the process was held up so long that others called it dead
	lookupTime   = 5 * time.Second
	lostFor      = 10 * time.Minute // how long a peer that was lost is asked for
	lostAtMost   = 64
	maxJoinNames = 64
)

// seed is one entry of Config.Join.
type seed struct {
	host string
	port uint16
	ip   netip.Addr // when the host is an address
}

// parseSeed reads "host", "host:port", an IPv6 address with or without brackets.
func parseSeed(text string, port uint16) (seed, error) {
	host := text
	if ip, err := netip.ParseAddr(strings.Trim(text, "[]")); err == nil {
		return seed{host: ip.String(), port: port, ip: ip.Unmap()}, nil
	}
	if strings.Contains(text, ":") {
		h, p, err := net.SplitHostPort(text)
		if err != nil {
			return seed{}, err
		}
		n, err := strconv.ParseUint(p, 10, 16)
		if err != nil {
			return seed{}, err
		}
		host, port = h, uint16(n)
	}
	s := seed{host: host, port: port}
	if ip, err := netip.ParseAddr(host); err == nil {
		s.ip = ip.Unmap()
	}
	return s, nil
}

// lostPeers are addresses of members that went without leaving.
type lostPeers struct {
	mu sync.Mutex
	// Guarded by mu.
	since map[netip.AddrPort]time.Time
}

func (l *lostPeers) add(addr netip.AddrPort) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.since == nil {
		l.since = make(map[netip.AddrPort]time.Time)
	}
	if len(l.since) < lostAtMost {
		l.since[addr] = time.Now()
	}
}

func (l *lostPeers) forget(addr netip.AddrPort) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.since, addr)
}

func (l *lostPeers) addresses() (all []netip.AddrPort) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for addr, since := range l.since {
		if time.Since(since) > lostFor {
			delete(l.since, addr)
			continue
		}
		all = append(all, addr)
	}
	return all
}

// A joiner keeps a server together with the others.
type joiner struct {
	// Static.
	m     *Members
	seeds []seed
	log   *zap.Logger
	// join exchanges all that is known with the server at addr; it blocks for the stream timeout at most.
	join func(addr netip.AddrPort) error
	now  func() time.Time // the wall clock, which goes on while a machine sleeps

	// Owned by run.
	alone  bool // said so
	failed map[string]bool
}

func newJoiner(m *Members, join func(netip.AddrPort) error) *joiner {
	return &joiner{
		m: m, seeds: m.seeds, log: m.log, join: join,
		now:    func() time.Time { return time.Now().Round(0) },
		failed: make(map[string]bool),
	}
}

// run joins and joins again until ctx ends. first is closed after the first round.
func (j *joiner) run(ctx context.Context, first chan<- struct{}) {
	wait, alone := time.Duration(0), joinFirst
	last := j.now()
	next := last
	tick := time.NewTicker(joinTick)
	defer tick.Stop()
	for {
		now := j.now()
		slept := now.Sub(last) > joinSlept
		last = now
		if slept {
			j.log.Warn("The process was held up: joining the other servers again")
		}
		if slept || !now.Before(next) {
			j.round(ctx, slept)
			if first != nil {
				close(first)
				first = nil
			}
			wait = joinEvery
			if len(j.m.view.current.Load().peers) == 0 {
				wait, alone = alone, min(2*alone, joinEvery)
			} else {
				alone = joinFirst
			}
			// A little by chance, so that servers started together do not ask together.
			last = j.now()
			next = last.Add(wait - wait/10 + rand.N(wait/5+1))
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// round joins whoever should be a member and is not; with everybody it joins the members too, who
// may have called this server dead.
func (j *joiner) round(ctx context.Context, everybody bool) {
	addrs := j.candidates(ctx, everybody)
	var asked sync.WaitGroup
	var mu sync.Mutex
	joined, at := 0, make(chan struct{}, joinAtOnce)
	var last error
	for _, addr := range addrs {
		if ctx.Err() != nil {
			break
		}
		at <- struct{}{}
		asked.Go(func() {
			defer func() { <-at }()
			err := j.join(addr)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				last = err
			} else {
				joined++
			}
		})
	}
	asked.Wait()
	if ctx.Err() != nil {
		return
	}
	alone := len(j.m.view.current.Load().peers) == 0
	switch {
	case !alone || j.alone || len(j.seeds) == 0:
	case len(addrs) == 0 && len(j.failed) == 0:
		j.log.Info("This is the first server: all names lead to it alone")
	default:
		j.log.Warn("No other server was found; this one goes on alone and keeps looking", zap.Int("asked", len(addrs)), zap.Error(last))
	}
	j.alone = alone
}

// candidates are the addresses to join now.
func (j *joiner) candidates(ctx context.Context, everybody bool) []netip.AddrPort {
	view := j.m.view.current.Load()
	members := make(map[netip.AddrPort]bool, len(view.Members))
	set := make(map[netip.AddrPort]bool)
	for _, m := range view.Members {
		members[m.Addr] = true
		if everybody && m.ID != j.m.cfg.Self {
			set[m.Addr] = true
		}
	}
	for _, addr := range append(j.resolve(ctx), j.m.lost.addresses()...) {
		if !members[addr] {
			set[addr] = true
		}
	}
	all := make([]netip.AddrPort, 0, len(set))
	for addr := range set {
		all = append(all, addr)
	}
	rand.Shuffle(len(all), func(a, b int) { all[a], all[b] = all[b], all[a] })
	return all[:min(len(all), joinRound)]
}

// resolve returns what the seeds lead to. A name that cannot be looked up is skipped: it may come back.
func (j *joiner) resolve(ctx context.Context) (all []netip.AddrPort) {
	ctx, cancel := context.WithTimeout(ctx, lookupTime)
	defer cancel()
	type found struct {
		ips []netip.Addr
		err error
	}
	answers := make([]found, len(j.seeds))
	var asked sync.WaitGroup
	for i, s := range j.seeds {
		if s.ip.IsValid() {
			answers[i].ips = []netip.Addr{s.ip}
			continue
		}
		asked.Go(func() { answers[i].ips, answers[i].err = j.m.cfg.Resolver.LookupNetIP(ctx, "ip", s.host) })
	}
	asked.Wait()
	for i, s := range j.seeds {
		ips, err := answers[i].ips, answers[i].err
		if failed := err != nil; failed != j.failed[s.host] {
			delete(j.failed, s.host)
			if failed {
				j.failed[s.host] = true
				j.log.Warn("Looking up the other servers failed; it is tried again", zap.String("name", s.host), zap.Error(err))
			}
		}
		for _, ip := range ips {
			all = append(all, netip.AddrPortFrom(ip.Unmap(), s.port))
		}
	}
	return all
}
