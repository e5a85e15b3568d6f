package gateway

import (
	"fmt"
	"strings"
	"testing"

	"logux-proxy/wire"
)

// What a client can make the server hold, and what happens then.

// A client with too many actions under way is not read from until half of them have their outcome. Nothing is lost.
func TestQueueLimit(t *testing.T) {
	for name, change := range map[string]func(c *Config){
		"by number": func(c *Config) { c.MaxQueue = 4 },
		"by bytes":  func(c *Config) { c.MaxQueueBytes = 4 * len(inc) },
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, change)
			c, other := w.connect("10:a:tab"), w.connect("20:b:tab")
			const actions = 20
			for n := range int64(actions) {
				c.act(n+1, inc)
			}
			await(t, "the brake", func() (full bool) {
				w.on("10:a", func(p *peer) { full = p.unheard })
				return full
			})
			open := func() int64 { _, _, open := w.g.ledger.counts(); return open }
			if n := open(); n != 4 {
				t.Errorf("%d are under way", n)
			}
			other.alive()
			for n := range int64(actions) {
				w.backend.next(t, inc).agree()
				c.wantProcessed(n + 1)
				if n := open(); n > 4 {
					t.Errorf("%d are under way", n)
				}
			}
			c.alive()
			w.on("10:a", func(p *peer) {
				if p.unheard {
					t.Error("the brake is still on")
				}
			})
			w.forgotten()
		})
	}
}

// The brake counts what a client has under way, whatever connection it came by.
func TestQueueLimitAcrossConnections(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.MaxQueue = 4 })
	c := w.connect("10:a:tab")
	for n := range int64(3) {
		c.act(n+1, inc)
	}
	c.alive()
	c.drop()
	w.members(0)
	again := w.connect("10:a:tab")
	for n := range int64(10) {
		again.act(n+4, inc)
	}
	await(t, "the brake", func() (full bool) {
		w.on("10:a", func(p *peer) { full = p.unheard })
		return full
	})
	if _, _, open := w.g.ledger.counts(); open != 4 {
		t.Errorf("%d are under way", open)
	}
	for n := range int64(13) {
		w.backend.next(t, inc).agree()
		if n < 3 {
			again.want(processedEvent(c.id(n + 1)))
		} else {
			again.wantProcessed(n + 1)
		}
	}
}

// A message with more actions than the limit is taken whole, and then the brake is on.
func TestQueueLimitInOneMessage(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.MaxQueue = 4 })
	w.backend.setProcess(func(q *question) { q.agree() })
	c := w.connect("10:a:tab")
	text := `["sync",50`
	for n := range int64(50) {
		text += "," + c.pair(n+1, inc)
	}
	c.send(text + "]")
	expected := []string{"synced 50"}
	for n := range int64(50) {
		expected = append(expected, processedEvent(c.id(n+1)))
	}
	c.wantAll(expected...)
	c.alive()
}

// A client that is too fast is not read from for the rest of a second. Nothing is lost.
func TestActionRate(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.ActionRate = 5 })
	w.backend.setProcess(func(q *question) { q.agree() })
	c := w.connect("10:a:tab")
	for n := range int64(12) {
		c.act(n+1, inc)
	}
	var expected []string
	for n := range int64(12) {
		expected = append(expected, fmt.Sprintf("synced %d", n+1), processedEvent(c.id(n+1)))
	}
	c.wantAll(expected...)
	c.alive()
}

// A client that reads outcomes and never confirms them is closed: they would be kept for it for ever.
func TestUnconfirmedOutcomes(t *testing.T) {
	const queue = 3
	w := newWorld(t, func(c *Config) { c.MaxQueue = queue })
	w.backend.setProcess(func(q *question) { q.agree() })
	c, honest := w.connect("10:a:tab"), w.connect("20:b:tab")
	c.deaf = true
	const most = unconfirmedFactor * queue
	for n := int64(1); n <= most; n++ {
		c.act(n, inc)
		c.wantProcessed(n)
	}
	c.act(most+1, inc)
	for c.next() != "close 1008" {
	}
	for n := int64(1); n <= most+10; n++ {
		honest.act(n, inc)
		honest.wantProcessed(n)
	}
}

// A client that does not read is closed with 1013 when too much waits for it. The others go on.
func TestSlowClient(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.MaxOutput = 256 << 10 })
	slow, other := w.connect("10:a:tab"), w.connect("20:b:tab")
	w.subscribe(slow, 1, "posts")
	w.subscribe(other, 1, "posts")
	body := fmt.Sprintf(`{"type":"data","x":%q}`, strings.Repeat("x", 64<<10))
	// More than the buffers of the system hold. Who is closed has a second to read the close frame.
	for range 500 {
		w.toChannel("posts", body)
		other.want("action " + body)
	}
	await(t, "end of the slow one", func() bool { return w.g.hub.Counts().Members == 1 })
	w.toChannel("posts", data(1))
	other.want(dataEvent(1))
	for {
		if e := slow.next(); e == "close 1013" || e == "end" {
			break
		}
	}
	await(t, "its count", func() bool { return w.server.Stats().OutputWaiting == 0 })
}

// What waits for a client is merged into fewer messages, of at most 100 actions and a bounded size.
func TestMergedOutput(t *testing.T) {
	w := newWorld(t, nil)
	c := w.connect("10:a:tab")
	const actions = 250
	w.on("10:a", func(p *peer) {
		for n := range actions {
			if err := w.g.Deliver(&wire.Action{Type: "data", Body: wire.RawJSON(data(n))}, &wire.Targets{Clients: []wire.ClientID{"10:a"}}, nil); err != nil {
				t.Error(err)
			}
		}
	})
	for n := range actions {
		c.want(dataEvent(n))
	}
	if out := w.g.Stats().MessagesOut[wire.MessageSync]; out != 3 {
		t.Errorf("%d messages", out)
	}
	if c.added != actions {
		t.Errorf("numbered up to %d", c.added)
	}

	large := fmt.Sprintf(`{"type":"data","x":%q}`, strings.Repeat("x", maxSync/2))
	before := w.g.Stats().MessagesOut[wire.MessageSync]
	w.on("10:a", func(p *peer) {
		for range 4 {
			if err := w.g.Deliver(&wire.Action{Type: "data", Body: wire.RawJSON(large)}, &wire.Targets{Clients: []wire.ClientID{"10:a"}}, nil); err != nil {
				t.Error(err)
			}
		}
	})
	for range 4 {
		c.want("action " + large)
	}
	if out := w.g.Stats().MessagesOut[wire.MessageSync] - before; out != 4 {
		t.Errorf("%d messages", out)
	}
}
