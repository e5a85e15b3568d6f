package bench

import (
	"sync"
	"time"

	"logux-proxy/cmd/node/bench/latency"
)

var epoch = time.Now()

// now is the monotonic time in nanoseconds since the start of the program.
func now() int64 { return int64(time.Since(epoch)) }

// A book is all that is counted in a run.
type book struct {
	fanOut   bool
	refused  chan struct{} // closed at the first fault
	refusal  string        // that one; to be read when refused is closed
	channels [][]int64     // the numbers of the actions that were sent to each channel, in order; guarded by mu

	mu sync.Mutex
	// Guarded by mu.

	actions []action // by number; the first stands for none
	places  []received
	perID   int // places of each client

	ready   int // clients that are connected and subscribed now
	started int // clients that were ready at least once
	givenUp int // clients that do not try any more

	reconnects int64
	lost       int64 // connections
	unsent     int64 // actions for which no client was ready
	processed  int64
	undone     int64
	unsettled  int64 // actions without an outcome
	delivered  int64
	doubled    int64
	missing    int64
	late       int64 // ns that an action was sent too late, at most
	last       int64 // when something came that was waited for
	protocol   int   // what the server answered with

	connect, subscribe, outcome, delivery latency.Histogram
	faults                                map[string]int64
}

// An action is one that a client sent.
type action struct {
	at      int64 // when it was due, as of now()
	seq     int64 // in its channel
	channel int32 // -1: none
	client  int32
	state   outcome
}

type outcome uint8

const (
	open outcome = iota
	processed
	undone
)

func newBook(clients, perClient, channels int, fanOut bool) *book {
	return &book{
		fanOut: fanOut, refused: make(chan struct{}), channels: make([][]int64, channels),
		actions: make([]action, 1), places: make([]received, clients*perClient), perID: perClient,
		faults: make(map[string]int64),
	}
}

// maxKinds bounds the kinds of faults; those beyond it are one kind.
const maxKinds = 100

// fault counts something that went wrong.
func (b *book) fault(kind string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.faultLocked(kind, 1)
}

func (b *book) faultLocked(kind string, n int64) {
	if n == 0 {
		return
	}
	if _, known := b.faults[kind]; !known && len(b.faults) >= maxKinds {
		kind = "others"
	}
	if len(b.faults) == 0 {
		b.refusal = kind
		close(b.refused)
	}
	b.faults[kind] += n
}

// connected counts a connection that the server accepted.
func (b *book) connected(took int64, protocol int, again bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.connect.Add(took)
	b.protocol = protocol
	if again {
		b.reconnects++
	}
}

// becameReady counts a client that is subscribed to everything.
func (b *book) becameReady(first bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.ready++
	if first {
		b.started++
	}
}

// disconnected counts a connection that ended, and what its client was in.
func (b *book) disconnected(client int, wasReady, wasAccepted bool, kind string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if wasReady {
		b.ready--
	}
	if wasAccepted {
		b.lost++
	}
	b.faultLocked(kind, 1)
	for k := range b.perID {
		b.places[client*b.perID+k].stop()
	}
}

// gaveUp counts a client that tries no more.
func (b *book) gaveUp() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.givenUp++
}

// subscribed begins to count what the client's k-th channel brings.
func (b *book) subscribed(client, k, channel int, took int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.subscribe.Add(took)
	b.places[client*b.perID+k].start(int64(len(b.channels[channel])))
}

// send gives an action that was due at a time its number. k is the place of the channel among the client's, channel its number; -1
// for none.
func (b *book) send(client, k, channel int, due int64) (number int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	number = int64(len(b.actions))
	a := action{at: due, channel: int32(channel), client: int32(client)}
	if channel >= 0 {
		a.seq = int64(len(b.channels[channel]))
		b.channels[channel] = append(b.channels[channel], number)
		// The author is left out of what goes to a channel.
		b.places[client*b.perID+k].take(a.seq, b.missedLocked(client, channel))
	}
	b.actions = append(b.actions, a)
	b.late = max(b.late, now()-due)
	return number
}

// settle takes the outcome of an action, which came at a time.
func (b *book) settle(number int64, o outcome, reason string, at int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	a := &b.actions[number]
	a.state = o
	b.last = at
	b.outcome.Add(at - a.at)
	if o == undone {
		b.undone++
		b.faultLocked("undone: "+reason, 1)
		return
	}
	b.processed++
}

// deliver counts an action that arrived at a client; places finds the client's channels.
func (b *book) deliver(client int, number int64, channelOf func(client, k int) int, at int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if number < 1 || number >= int64(len(b.actions)) {
		b.faultLocked("a delivery of an action that was not sent", 1)
		return
	}
	a := &b.actions[number]
	b.last = at
	for k := range b.perID {
		if a.channel < 0 || a.client == int32(client) || channelOf(client, k) != int(a.channel) {
			continue
		}
		if b.places[client*b.perID+k].take(a.seq, b.missedLocked(client, int(a.channel))) {
			b.doubled++
			b.faultLocked("delivered twice", 1)
			return
		}
		break
	}
	b.delivered++
	b.delivery.Add(at - a.at)
}

// missedLocked counts an action of a channel as lost for a client, if it should have got it.
func (b *book) missedLocked(client, channel int) func(seq int64) {
	return func(seq int64) {
		if a := &b.actions[b.channels[channel][seq]]; b.fanOut && a.state == processed && a.client != int32(client) {
			b.missing++
			b.faultLocked("not delivered", 1)
		}
	}
}

// waiting is how many actions have no outcome.
func (b *book) waiting() int64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.waitingLocked()
}

func (b *book) waitingLocked() int64 { return int64(len(b.actions)) - 1 - b.processed - b.undone }

// quiet reports whether nothing came for some time.
func (b *book) quiet(d time.Duration) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return now()-b.last > int64(d)
}

// finish counts what is still missing when everything should be here.
func (b *book) finish(channelOf func(client, k int) int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.unsettled = b.waitingLocked()
	b.faultLocked("without an outcome", b.unsettled)
	b.faultLocked("not sent: no client was connected", b.unsent)
	for i := range b.places {
		client, k := i/b.perID, i%b.perID
		channel := channelOf(client, k)
		b.places[i].finish(int64(len(b.channels[channel])), b.missedLocked(client, channel))
	}
}

// connections are how many clients are ready, and how many will never be.
func (b *book) connections() (ready, gone int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.ready, b.givenUp
}

// skip counts an action for which no client was ready.
func (b *book) skip() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.unsent++
}
