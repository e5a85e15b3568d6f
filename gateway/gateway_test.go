package gateway

import (
	"testing"
	"time"

	"logux-proxy/cluster"
	"logux-proxy/gateway/transport"
)

// A server is not made of half of its parts.
func TestNewChecks(t *testing.T) {
	for name, spoil := range map[string]func(c *Config){
		"no back-end": func(c *Config) { c.Backend = nil },
		"no bus":      func(c *Config) { c.Bus = nil },
		"no attempts": func(c *Config) { c.Attempts = nil },
		"no ID":       func(c *Config) { c.Session.Server = "" },
		"wrong ID":    func(c *Config) { c.Session.Server = "10:a:tab" },
	} {
		c := Config{Backend: newStub(t), Bus: cluster.Alone{}, Attempts: new(attempts)}
		c.Session.Server = "server:one"
		if _, err := New(c); err != nil {
			t.Fatal(err)
		}
		spoil(&c)
		if _, err := New(c); err == nil {
			t.Errorf("%s: made", name)
		}
	}
}

// A client that left is forgotten after Config.Remember.
func TestForgetsThoseWhoLeft(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.Remember = time.Nanosecond })
	c := w.connect("10:a:tab")
	c.deaf = true
	c.act(1, inc)
	w.backend.next(t, inc).agree()
	c.wantProcessed(1)
	c.drop()
	w.members(0)
	await(t, "an empty ledger", func() bool {
		w.onLoops(func(l *transport.Loop) { sweep{w.g}.Run(l) })
		clients, _, _ := w.g.ledger.counts()
		return clients == 0
	})
}
