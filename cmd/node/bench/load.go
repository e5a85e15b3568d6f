package bench

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strconv"
	"sync"
	"time"
)

// A load is one run.
type load struct {
	config    *Config
	run       string // in the client IDs and the marks, to tell this run from others
	addrs     []string
	header    http.Header
	channels  []string
	channelOf func(client, k int) int
	book      *book
	clients   []client
	turn      int // client whose turn it is to act

	running sync.WaitGroup
}

// Run loads the server as c says, and returns what came of it: also when ctx ends before the time. progress, when not nil, is called
// about once a second. It returns an error when there was no load: the machine cannot hold the clients, or the server refused the
// first one. It takes at most Clients/ConnectRate, Duration, three times Patience and some seconds.
func Run(ctx context.Context, c *Config, progress func(*Progress)) (*Report, error) {
	if err := c.Check(); err != nil {
		return nil, err
	}
	addrs, err := lookUp(ctx, c)
	if err != nil {
		return nil, err
	}
	if err := checkMachine(c.Clients, openFiles(), len(c.Sources), len(addrs), localPorts()); err != nil {
		return nil, err
	}
	channels, channelOf := c.channelNames()
	l := &load{
		config: c, run: strconv.FormatUint(36*36*36*36*36+rand.Uint64N(35*36*36*36*36*36), 36), addrs: addrs, header: withoutHost(c.Header),
		channels: channels, channelOf: channelOf,
		book: newBook(c.Clients, len(c.Channels), len(channels), c.FanOut), clients: make([]client, c.Clients),
	}
	for i := range l.clients {
		l.clients[i] = client{load: l, number: i, node: c.User.of(i) + ":" + l.run + "-" + strconv.Itoa(i) + ":0"}
	}
	return l.work(ctx, progress)
}

// work connects, acts, waits for what is under way and says goodbye.
func (l *load) work(ctx context.Context, progress func(*Progress)) (*Report, error) {
	dials, stop := context.WithCancel(ctx)
	defer l.running.Wait()
	defer stop()
	shown := l.showProgress(progress)
	defer shown()

	begin := now()
	if err := l.first(dials, ctx); err != nil {
		l.leave()
		return nil, err
	}
	l.connect(dials)
	connected := now()
	l.act(ctx)
	acted := now()
	l.settle(ctx)
	l.book.finish(l.channelOf)
	r := l.report(ctx.Err() != nil, connected-begin, acted-connected)
	l.leave()
	return r, nil
}

// first connects one client, whose fault is that of all.
func (l *load) first(dials, ctx context.Context) error {
	l.start(dials, 0)
	patience := time.After(l.config.Patience)
	for {
		select {
		case <-l.book.refused:
			return &RefusedError{l.config.URL.Redacted(), l.book.refusal}
		case <-patience:
			return &RefusedError{l.config.URL.Redacted(), errSilent.Error()}
		case <-ctx.Done():
			return errors.New("interrupted before the first client was connected")
		case <-time.After(5 * time.Millisecond):
			if ready, _ := l.book.connections(); ready > 0 {
				return nil
			}
		}
	}
}

// A RefusedError is why not even the first client could be connected.
type RefusedError struct {
	Server string
	Fault  string // a kind of fault, as in Report.Errors
}

func (e *RefusedError) Error() string {
	return fmt.Sprintf("the first client could not use %s: %s", e.Server, e.Fault)
}

func (l *load) start(ctx context.Context, client int) {
	l.running.Go(func() { l.clients[client].run(ctx) })
}

// connect starts the other clients at the rate, and waits until all are ready or have had their time.
func (l *load) connect(ctx context.Context) {
	begin := now()
	for i := 1; i < len(l.clients); i++ {
		if !sleepUntil(ctx, begin+int64(i)*int64(time.Second)/int64(l.config.ConnectRate)) {
			return
		}
		l.start(ctx, i)
	}
	l.await(ctx, func() bool {
		ready, gone := l.book.connections()
		return ready+gone >= len(l.clients)
	})
}

// await waits for a condition, for as long as there is patience.
func (l *load) await(ctx context.Context, done func() bool) {
	ctx, cancel := context.WithTimeout(ctx, l.config.Patience)
	defer cancel()
	for !done() && sleepUntil(ctx, now()+int64(10*time.Millisecond)) {
	}
}

// sleepUntil reports whether the time came before the context's end.
func sleepUntil(ctx context.Context, at int64) bool {
	wait := at - now()
	if wait <= 0 {
		return ctx.Err() == nil
	}
	timer := time.NewTimer(time.Duration(wait))
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

// writers is how many clients may write at a time: one whose server does not read delays no other.
const writers = 64

// act has the clients send actions at the rate, each in its turn, until the time is over. An action counts from when it was due, so that
// a server that stops for a moment is not spared the load of that moment.
func (l *load) act(ctx context.Context) {
	begin := now()
	end := begin + int64(l.config.Duration)
	rate := int64(l.config.ActionRate)
	if rate == 0 {
		sleepUntil(ctx, end)
		return
	}
	due := make(chan int64, writers)
	var working sync.WaitGroup
	for range writers {
		working.Go(func() {
			for at := range due {
				l.actOnce(at)
			}
		})
	}
	for i := int64(0); ; i++ {
		at := begin + i*int64(time.Second)/rate
		if at >= end || !sleepUntil(ctx, at) || now() > end+int64(time.Second) {
			break
		}
		due <- at
	}
	close(due)
	working.Wait()
	sleepUntil(ctx, end)
}

// actOnce lets the next client act that is ready.
func (l *load) actOnce(at int64) {
	for range l.clients {
		if l.next().act(at) {
			return
		}
	}
	l.book.skip()
}

func (l *load) next() *client {
	l.book.mu.Lock()
	defer l.book.mu.Unlock()
	c := &l.clients[l.turn]
	l.turn = (l.turn + 1) % len(l.clients)
	return c
}

// settle waits until every action has its outcome and nothing more is delivered.
func (l *load) settle(ctx context.Context) {
	if l.config.ActionRate > 0 {
		l.await(ctx, func() bool { return l.book.waiting() == 0 && l.book.quiet(time.Second) })
	}
}

// leave ends all connections, several at a time: one may be in the middle of a write that nobody reads.
func (l *load) leave() {
	var leaving sync.WaitGroup
	for first := range min(writers, len(l.clients)) {
		leaving.Go(func() {
			for i := first; i < len(l.clients); i += writers {
				l.clients[i].leave()
			}
		})
	}
	leaving.Wait()
}

// channel is the name of a client's k-th channel.
func (l *load) channel(client, k int) string { return l.channels[l.channelOf(client, k)] }
