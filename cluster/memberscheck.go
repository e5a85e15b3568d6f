package cluster

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/hashicorp/memberlist"

	"logux-proxy/wire"
)

// ErrNoGossip is why a server is not met: it does not answer gossip that is encrypted and named as ours.
var ErrNoGossip = errors.New("no answer to gossip")

// askedAgain is how often a server is asked that does not answer: a packet may be lost.
const askedAgain = 3

// CheckMember asks the server at addr once whether it takes gossip of a server with this configuration, for an operator
// before a start. It asks from a port of its own, as nobody in particular, so that nobody takes the asker for a member.
// The error is ErrNoGossip when no answer comes, be it for another key, another cluster's name, a network that loses UDP, or a
// port of another program; it takes some seconds at most.
func CheckMember(ctx context.Context, c MembersConfig, addr netip.AddrPort) error {
	from, err := wayTo(ctx, addr)
	if err != nil {
		return err
	}
	c.Self = wire.NewServerID("server:check", time.Now())
	c.Bind, c.Advertise, c.Join, c.Meta = netip.AddrPortFrom(from, 0).String(), "", nil, Meta{}
	tune := c.tune
	c.tune = func(l *memberlist.Config) {
		if tune != nil {
			tune(l)
		}
		// A packet must not carry the news that the asker is alive, as every other does that has room.
		l.UDPBufferSize, l.GossipInterval, l.PushPullInterval = 0, 0, 0
	}
	m, err := NewMembers(c)
	if err != nil {
		return err
	}
	list, err := m.create()
	if err != nil {
		return err
	}
	for range askedAgain {
		if _, err = list.Ping("", net.UDPAddrFromAddrPort(addr)); err == nil || ctx.Err() != nil {
			break
		}
	}
	if err != nil {
		err = fmt.Errorf("cluster: asking %s: %w: %w", addr, ErrNoGossip, err)
	}
	return errors.Join(err, list.Shutdown())
}

// wayTo is the address of this machine that packets to addr come from.
func wayTo(ctx context.Context, addr netip.AddrPort) (netip.Addr, error) {
	conn, err := new(net.Dialer).DialContext(ctx, "udp", addr.String()) // which sends nothing
	if err != nil {
		return netip.Addr{}, fmt.Errorf("cluster: asking %s: %w", addr, err)
	}
	from, err := netip.ParseAddrPort(conn.LocalAddr().String())
	return from.Addr().Unmap(), errors.Join(err, conn.Close())
}
