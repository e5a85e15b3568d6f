package fleet

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"logux-proxy/e2e/history"
)

// A Load is how much a crowd does.
type Load struct {
	Clients  int
	Rate     int // actions a second, of all clients together
	Channels int // each client subscribes to one of them
	// Idle of the clients only stay connected.
	Idle int
	// Slow in a thousand actions take SlowTime in the back-end.
	Slow     int
	SlowTime time.Duration
	// Churn is how long a connection lasts at most; 0: to the end.
	Churn time.Duration
}

// The loads that everything is shown under: S in continuous integration, A for acceptance. Each action goes to ten subscribers.
var (
	LoadS = Load{Clients: 300, Rate: 200, Channels: 30, Slow: 50, SlowTime: 500 * time.Millisecond}
	LoadA = Load{Clients: 3000, Rate: 1000, Channels: 300, Slow: 50, SlowTime: 500 * time.Millisecond}
)

// A Target is a server that clients connect to.
type Target struct{ Name, Addr string }

// A Crowd is many clients that talk to each other through servers. It stands for the load balancer too: a client connects to any of the servers in turn
// that Serve named last, and to the next one when a server refuses.
type Crowd struct {
	// Static
	Record  *history.Recorder
	load    Load
	seed    uint64
	clients []*Client
	http    http.Client
	wait    sync.WaitGroup

	acting  atomic.Bool
	marks   atomic.Int64
	present atomic.Int64 // how many of the clients want to be connected, those with lower ranks

	mu sync.Mutex
	// Guarded by mu.

	servers  []Target
	front    string            // of a load balancer; "" for none
	vanished map[net.Conn]bool // connections that their clients forgot without a word
	failure  string
}

// NewCrowd prepares clients. Two share a user.
func NewCrowd(record *history.Recorder, load Load, seed uint64) *Crowd {
	c := &Crowd{Record: record, load: load, seed: seed, http: http.Client{Timeout: 30 * time.Second}, vanished: make(map[net.Conn]bool)}
	for i := range load.Clients {
		client := &Client{ID: fmt.Sprintf("u%d:c%d", i/2, i), crowd: c, owed: make(map[string]time.Time)}
		client.rank.Store(int64(i))
		client.node = client.ID + ":t"
		if i < load.Clients-load.Idle {
			client.wanted = []string{c.channel(i % load.Channels)}
		}
		c.clients = append(c.clients, client)
	}
	c.present.Store(int64(load.Clients))
	return c
}

func (c *Crowd) channel(i int) string { return fmt.Sprintf("room/%d", i) }

// Serve says which servers there are. Connections to others go on.
func (c *Crowd) Serve(servers ...Target) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.servers = servers
}

// Behind lets the clients connect to the load balancer at addr, host:port, instead. Actions by the control API go to the servers.
func (c *Crowd) Behind(addr string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.front = addr
}

// Present lets just n clients be connected. Those that go are chosen at random among the idle ones, as long as there are any, and say goodbye when they have
// nothing under way. One goroutine may call it.
func (c *Crowd) Present(n int) {
	before, active := int(c.present.Load()), c.load.Clients-c.load.Idle
	if n < before && before > active {
		here := make([]*Client, 0, before)
		for _, client := range c.clients[active:] {
			if client.rank.Load() < int64(before) {
				here = append(here, client)
			}
		}
		for i, k := range rand.New(rand.NewPCG(c.seed, uint64(n))).Perm(len(here)) {
			here[i].rank.Store(int64(active + k))
		}
	}
	c.present.Store(int64(n))
}

func (c *Client) present() bool { return c.rank.Load() < c.crowd.present.Load() }

// sendAway closes the connections of clients that are not to be present.
func (c *Crowd) sendAway(ctx context.Context) {
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		for _, client := range c.clients {
			if !client.present() && client.settled() {
				client.Drop(Close)
			}
		}
	}
}

// Start lets the clients connect, and ends them when ctx ends; Wait then returns.
func (c *Crowd) Start(ctx context.Context) {
	for i, client := range c.clients {
		r := rand.New(rand.NewPCG(c.seed, uint64(i)))
		c.wait.Go(func() { client.run(ctx, r) })
	}
	c.wait.Go(func() { c.act(ctx, rand.New(rand.NewPCG(c.seed, 1<<40))) })
	c.wait.Go(func() { c.sendAway(ctx) })
	if c.load.Churn > 0 {
		c.wait.Go(func() { c.churn(ctx, rand.New(rand.NewPCG(c.seed, 1<<41))) })
	}
}

// Wait returns when all clients have ended.
func (c *Crowd) Wait() {
	c.wait.Wait()
	c.mu.Lock()
	defer c.mu.Unlock()
	for conn := range c.vanished {
		_ = conn.Close()
	}
	clear(c.vanished)
}

func (c *Crowd) vanish(conn net.Conn) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.vanished[conn] = true
}

func (c *Crowd) isVanished(conn net.Conn) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.vanished[conn]
}

// Act begins or ends the sending of actions and the churn.
func (c *Crowd) Act(on bool) { c.acting.Store(on) }

// Settled reports whether every client that is to be present is connected and subscribed and has no action that is not acknowledged.
func (c *Crowd) Settled() bool {
	return !slices.ContainsFunc(c.clients, func(c *Client) bool { return c.present() && !c.settled() })
}

// Owed is how many actions that were acknowledged before a time have no outcome.
func (c *Crowd) Owed(before time.Time) (n int) {
	for _, client := range c.clients {
		n += client.owes(before)
	}
	return n
}

// Connected is how many clients are.
func (c *Crowd) Connected() (n int) {
	for _, client := range c.clients {
		if client.connected() {
			n++
		}
	}
	return n
}

// Unsettled tells what the first clients that are not settled wait for.
func (c *Crowd) Unsettled() (text string) {
	n := 0
	for _, client := range c.clients {
		client.mu.Lock()
		if client.conn == nil || client.ended || !client.renewed || len(client.pending) != 0 {
			if n++; n <= 5 {
				text += fmt.Sprintf("\n%s: connection %d open %v, subscribed %v, %d actions not acknowledged, %d errors", client.ID, client.number, client.conn != nil && !client.ended, client.renewed, len(client.pending), client.rejected)
				if len(client.pending) > 0 {
					text += ", first " + client.pending[0].id(client.node) + " " + client.pending[0].kind
				}
			}
		}
		client.mu.Unlock()
	}
	return fmt.Sprintf("%d clients are not settled:%s", n, text)
}

// Failure is the first thing that a client could not read; "" when there is none.
func (c *Crowd) Failure() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.failure
}

func (c *Crowd) fail(format string, args ...any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.failure == "" {
		c.failure = fmt.Sprintf(format, args...)
	}
}

func (c *Crowd) mark(author string) string { return fmt.Sprintf("%s/%d", author, c.marks.Add(1)) }

// dial connects to one of the servers; the connection is nil when none takes it.
func (c *Crowd) dial(ctx context.Context, r *rand.Rand) (net.Conn, string) {
	c.mu.Lock()
	servers := slices.Clone(c.servers)
	if c.front != "" {
		servers = []Target{{Addr: c.front}}
	}
	c.mu.Unlock()
	r.Shuffle(len(servers), func(i, k int) { servers[i], servers[k] = servers[k], servers[i] })
	dialer := net.Dialer{Timeout: 5 * time.Second}
	for _, s := range servers {
		if conn, err := dialer.DialContext(ctx, "tcp", s.Addr); err == nil {
			return conn, s.Name
		}
	}
	return nil, ""
}

// act sends actions until ctx ends.
func (c *Crowd) act(ctx context.Context, r *rand.Rand) {
	const step = 5 * time.Millisecond
	tick := time.NewTicker(step)
	defer tick.Stop()
	due := 0.0
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if !c.acting.Load() {
			continue
		}
		for due += float64(c.load.Rate) * step.Seconds(); due >= 1; due-- {
			c.one(ctx, r)
		}
	}
}

// one does one thing of one client.
func (c *Crowd) one(ctx context.Context, r *rand.Rand) {
	client := c.clients[r.IntN(min(len(c.clients)-c.load.Idle, int(c.present.Load())))]
	other := c.clients[r.IntN(len(c.clients))]
	channel := c.channel(r.IntN(c.load.Channels))
	var to history.Targets
	switch n := r.IntN(100); {
	case n < 3:
		c.wait.Go(func() { c.post(ctx, channel, rand.New(rand.NewPCG(c.seed, uint64(c.marks.Add(1))))) })
		return
	case n < 5:
		client.Subscribe(channel)
		return
	case n < 7:
		client.mu.Lock()
		wanted := slices.Clone(client.wanted)
		client.mu.Unlock()
		if len(wanted) > 1 {
			client.Unsubscribe(wanted[0])
		}
		return
	case n < 10:
		to.Users = []string{other.User()}
	case n < 13:
		to.Clients = []string{other.ID}
	case n < 15:
		to.Nodes = []string{other.node}
	case n < 17:
		to.Channels = []string{channel, c.channel(r.IntN(c.load.Channels))}
		to.Clients = []string{other.ID}
		to.Exclude = []string{c.clients[r.IntN(len(c.clients))].ID}
	default:
		to.Channels = []string{channel}
	}
	var delay time.Duration
	if r.IntN(1000) < c.load.Slow {
		delay = c.load.SlowTime
	}
	client.Publish(&to, delay)
}

// post sends an action to a channel through the control API of one of the servers.
func (c *Crowd) post(ctx context.Context, channel string, r *rand.Rand) {
	c.mu.Lock()
	servers := slices.Clone(c.servers)
	c.mu.Unlock()
	if len(servers) == 0 {
		return
	}
	s := servers[r.IntN(len(servers))]
	mark := c.mark("control")
	id := fmt.Sprintf("%d control:post:t %d", time.Now().UnixMilli(), c.marks.Add(1))
	to := history.Targets{Channels: []string{channel}}
	body, err := json.Marshal(map[string]any{"version": 4, "secret": Secret, "commands": []any{map[string]any{
		"command": "action", "action": map[string]any{"type": "say", "m": mark}, "meta": map[string]any{"id": id, "channels": to.Channels},
	}}})
	if err != nil {
		panic(err) // strings only
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+s.Addr+"/", bytes.NewReader(body))
	if err != nil {
		c.fail("control API: %v", err)
		return
	}
	c.Record.Add(history.Event{Kind: history.Posting, Node: s.Name, ID: id, Mark: mark, Targets: &to})
	res, err := c.http.Do(req)
	if err != nil {
		return // the server died
	}
	defer func() { _ = res.Body.Close() }()
	text, _ := io.ReadAll(res.Body)
	if res.StatusCode == http.StatusOK {
		c.Record.Add(history.Event{Kind: history.Posted, Node: s.Name, ID: id})
	} else {
		c.Record.Add(history.Event{Kind: history.Fault, Node: s.Name, ID: id, Mark: fmt.Sprintf("control API answered %d %s", res.StatusCode, text)})
	}
}

// churn drops connections at random so that each lasts the time of load.Churn on average.
func (c *Crowd) churn(ctx context.Context, r *rand.Rand) {
	tick := time.NewTicker(c.load.Churn / time.Duration(len(c.clients)))
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if c.acting.Load() {
			c.clients[r.IntN(len(c.clients))].Drop(Drop(r.IntN(int(drops))))
		}
	}
}
