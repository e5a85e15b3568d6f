package backend

import (
	"net/netip"
	"sync"
	"time"
)

const (
	attemptsAllowed = 3
	attemptsWindow  = 3 * time.Second
	// attemptsAddresses bounds the table: about 100 bytes each, 10 MiB in all. Beyond it the address
	// whose last attempt is oldest is forgotten first.
	attemptsAddresses = 100_000
)

// Attempts counts wrong secrets and wrong credentials by address: three within three seconds and
// further ones are refused; each is forgotten three seconds later (PROTOCOL section 5). IPv6 addresses count by
// their /64, since that is what one household or machine is given. Any goroutine may use it; both calls take constant
// time and what is forgotten is cleared away by later calls, so nothing runs in the background.
type Attempts struct {
	// Static.

	now   func() time.Time
	start time.Time // times are kept relative to it, on the monotonic clock

	mu sync.Mutex
	// Guarded by mu. The records form a list from the one whose last attempt is oldest to the newest;
	// records[0] is its anchor.

	index   map[[16]byte]int32
	records []attemptRecord
	free    []int32
}

type attemptRecord struct {
	key        [16]byte
	last       [attemptsAllowed]time.Duration // the last attempts, a ring
	at         int8                           // of the oldest one
	prev, next int32
}

// NewAttempts returns an empty count. now tells the time; nil means time.Now.
func NewAttempts(now func() time.Time) *Attempts {
	if now == nil {
		now = time.Now
	}
	return &Attempts{
		now:     now,
		start:   now(),
		index:   make(map[[16]byte]int32),
		records: make([]attemptRecord, 1),
	}
}

// Blocked reports whether ip has used up its attempts.
func (a *Attempts) Blocked(ip netip.Addr) bool {
	now := a.now().Sub(a.start)
	a.mu.Lock()
	defer a.mu.Unlock()
	i, ok := a.index[attemptKey(ip)]
	if !ok {
		return false
	}
	// All of the last three are younger than the window exactly when the oldest of them is.
	r := &a.records[i]
	return now-r.last[r.at] < attemptsWindow
}

// Failed counts a wrong attempt of ip.
func (a *Attempts) Failed(ip netip.Addr) {
	now := a.now().Sub(a.start)
	key := attemptKey(ip)
	a.mu.Lock()
	defer a.mu.Unlock()
	// Two out for each one in, so that a table that an attack filled empties again.
	a.dropOldLocked(now)
	a.dropOldLocked(now)

	i, ok := a.index[key]
	if ok {
		a.unlinkLocked(i)
	} else {
		i = a.newRecordLocked(key)
	}
	r := &a.records[i]
	r.last[r.at] = now
	r.at = (r.at + 1) % attemptsAllowed
	a.appendLocked(i)
}

// newRecordLocked returns a record without attempts that is not in the list yet.
func (a *Attempts) newRecordLocked(key [16]byte) int32 {
	if len(a.index) >= attemptsAddresses {
		a.dropLocked(a.records[0].next)
	}
	var i int32
	if n := len(a.free); n > 0 {
		i = a.free[n-1]
		a.free = a.free[:n-1]
	} else {
		i = int32(len(a.records))
		a.records = append(a.records, attemptRecord{})
	}
	r := &a.records[i]
	*r = attemptRecord{key: key}
	for k := range r.last {
		r.last[k] = -2 * attemptsWindow // long ago
	}
	a.index[key] = i
	return i
}

// dropOldLocked drops the oldest record if all its attempts are forgotten.
func (a *Attempts) dropOldLocked(now time.Duration) {
	i := a.records[0].next
	if i == 0 {
		return
	}
	r := &a.records[i]
	newest := r.last[(r.at+attemptsAllowed-1)%attemptsAllowed]
	if now-newest >= attemptsWindow {
		a.dropLocked(i)
	}
}

func (a *Attempts) dropLocked(i int32) {
	delete(a.index, a.records[i].key)
	a.unlinkLocked(i)
	a.free = append(a.free, i)
}

func (a *Attempts) unlinkLocked(i int32) {
	r := &a.records[i]
	a.records[r.prev].next = r.next
	a.records[r.next].prev = r.prev
}

func (a *Attempts) appendLocked(i int32) {
	last := a.records[0].prev
	a.records[i].prev, a.records[i].next = last, 0
	a.records[last].next = i
	a.records[0].prev = i
}

func attemptKey(ip netip.Addr) (key [16]byte) {
	if !ip.IsValid() { // whoever has no known address counts as one
		return [16]byte{0: 0xff, 15: 0xff}
	}
	ip = ip.Unmap()
	key = ip.As16() // an IPv4 address as ::ffff:a.b.c.d, which no other address is
	if ip.Is6() {
		clear(key[8:])
	}
	return key
}
