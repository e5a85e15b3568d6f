package cluster

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"time"

	"github.com/hashicorp/memberlist"
	"go.uber.org/zap"

	"logux-proxy/wire"
)

// MembersConfig says how a server takes part in the cluster. A zero value means the default in brackets.
type MembersConfig struct {
	Self wire.ServerID
	// Bind is the address and port for gossip, TCP and UDP, like "10.1.2.3:7946". Port 0 takes a free one.
	Bind string
	// Advertise is the address and port by which others reach Bind, when it is another one [Bind].
	Advertise string
	// Cluster separates clusters that could reach each other, in bytes at most 64: only servers with the same one gossip.
	Cluster string
	// Join names other servers: addresses and DNS names, with or without a port [of Bind].
	Join     []string
	Resolver Resolver // of those names [net.DefaultResolver]
	// Keys encrypt gossip. Without one, gossip has to stay on the loopback interface, unless AllowPlain.
	Keys       []Key
	AllowPlain bool
	Meta       Meta // at the start

	MetaInterval time.Duration // between two updates of Meta, at least [1 s]
	LeaveTimeout time.Duration // for saying goodbye [3 s]
	Timeout      time.Duration // of one stream to another server [5 s]

	Log *zap.Logger

	transport memberlist.NodeAwareTransport // for tests [the network]
	tune      func(*memberlist.Config)      // for tests and CheckMember
}

// metaUrgent is the time between updates when something changed that others act on.
const metaUrgent = 100 * time.Millisecond

func (c *MembersConfig) defaults() {
	duration := func(v *time.Duration, d time.Duration) {
		if *v == 0 {
			*v = d
		}
	}
	duration(&c.MetaInterval, time.Second)
	duration(&c.LeaveTimeout, 3*time.Second)
	duration(&c.Timeout, 5*time.Second)
	if c.Resolver == nil {
		c.Resolver = net.DefaultResolver
	}
	if c.Log == nil {
		c.Log = zap.NewNop()
	}
}

// maxCluster leaves room in a packet: the label stands in front of each.
const maxCluster = 64

func (c *MembersConfig) validate() (bind, advertise netip.AddrPort, seeds []seed, err error) {
	fail := func(format string, args ...any) (netip.AddrPort, netip.AddrPort, []seed, error) {
		return netip.AddrPort{}, netip.AddrPort{}, nil, fmt.Errorf("cluster: "+format, args...)
	}
	if !c.Self.Valid() {
		return fail("%q is not a server's ID", c.Self)
	}
	if len(c.Cluster) > maxCluster {
		return fail("the cluster's name has %d bytes, over %d", len(c.Cluster), maxCluster)
	}
	if err := c.Meta.validate(); err != nil {
		return netip.AddrPort{}, netip.AddrPort{}, nil, err
	}
	if bind, err = parseGossipAddr(c.Bind); err != nil {
		return fail("gossip address %q: %w", c.Bind, err)
	}
	if advertise = bind; c.Advertise != "" {
		if advertise, err = parseGossipAddr(c.Advertise); err != nil || advertise.Addr().IsUnspecified() || advertise.Port() == 0 {
			return fail("advertised gossip address %q: it must be one address with a port", c.Advertise)
		}
	}
	if bind.Addr().IsUnspecified() && bind.Addr().Is6() && c.Advertise == "" {
		return fail("gossip address %q: an address to advertise is needed", c.Bind)
	}
	if !bind.Addr().IsLoopback() && len(c.Keys) == 0 && !c.AllowPlain {
		return fail("gossip address %q is not a loopback address: a gossip key is needed", c.Bind)
	}
	if len(c.Join) > maxJoinNames {
		return fail("%d servers to join, over %d", len(c.Join), maxJoinNames)
	}
	for _, text := range c.Join {
		s, err := parseSeed(text, bind.Port())
		if err != nil || s.host == "" || s.port == 0 {
			return fail("server to join %q: it must be a name or an address, and a port where gossip has none", text)
		}
		seeds = append(seeds, s)
	}
	return bind, advertise, seeds, nil
}

var errNoIP = errors.New("it must be an IP address and a port")

// parseGossipAddr reads an address and a port. memberlist takes every other text for all interfaces.
func parseGossipAddr(text string) (netip.AddrPort, error) {
	host, port, err := net.SplitHostPort(text)
	if err != nil {
		return netip.AddrPort{}, errNoIP
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return netip.AddrPort{}, errNoIP
	}
	switch host {
	case "":
		host = "0.0.0.0"
	case "localhost":
		host = "127.0.0.1"
	}
	ip, err := netip.ParseAddr(host)
	if err != nil {
		return netip.AddrPort{}, errNoIP
	}
	return netip.AddrPortFrom(ip.Unmap(), uint16(n)), nil
}
