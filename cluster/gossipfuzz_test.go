package cluster

import (
	"bytes"
	"testing"
	"time"

	"github.com/hashicorp/memberlist"
)

// FuzzGossip gives packets to a server without a key: whatever comes, it lives, and knows itself.
func FuzzGossip(f *testing.F) {
	n := newGossipNet(f)
	n.settle = time.Second
	stranger := n.transport()
	_ = stranger.Shutdown() // nobody takes what is sent to it
	us := start(f, "us", func(c *MembersConfig) {
		c.transport, c.tune, c.LeaveTimeout = n.transport(), quick, time.Millisecond
	}, LinksConfig{})
	tap := &tappedTransport{faultyTransport: n.transport(), sent: make(chan []byte, 20)}
	start(f, "peer", func(c *MembersConfig) {
		c.transport, c.tune, c.LeaveTimeout, c.Join = tap, quick, time.Millisecond, []string{us.addr}
	}, LinksConfig{})
	for range cap(tap.sent) {
		f.Add(<-tap.sent)
	}
	f.Add([]byte{8, linkVersion, 1, 'a', 1, 'b', 1, 1, 0, 0})
	m := us.members
	f.Fuzz(func(t *testing.T, packet []byte) {
		if len(packet) == 0 {
			return
		}
		if _, err := stranger.WriteTo(packet, us.addr); err != nil {
			t.Fatal(err)
		}
		if _, ok := m.View().Get(m.Self()); !ok {
			t.Error("the server does not know itself any more")
		}
	})
}

// A tappedTransport keeps some of the packets that a server sends.
type tappedTransport struct {
	*faultyTransport
	sent chan []byte
}

func (p *tappedTransport) WriteToAddress(b []byte, addr memberlist.Address) (time.Time, error) {
	select {
	case p.sent <- bytes.Clone(b):
	default:
	}
	return p.faultyTransport.WriteToAddress(b, addr)
}
