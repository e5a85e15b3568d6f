package main

import (
	"errors"
	"net"
	"net/netip"
	"regexp"
	"strconv"
	"strings"

	"github.com/alecthomas/kong"

	"logux-proxy/cluster"
)

// parseRedis keeps the text out of its messages: a URL may hold a password.
func parseRedis(text string, _ *kong.Tag) (*cluster.Redis, error) {
	r, err := cluster.ParseRedis(text)
	if err != nil {
		return nil, &settingError{
			Wrong: "is unusable: " + strings.TrimPrefix(err.Error(), "cluster: reading the URL of Redis: "),
			Mend:  "write it as redis://:PASSWORD@127.0.0.1:6379, with / ? # and @ in the password as %2F %3F %23 and %40",
		}
	}
	return r, nil
}

const makeKey = "make one with: openssl rand -base64 32"

func parseGossipKeys(text string, _ *kong.Tag) (gossipKeys, error) {
	keys, err := cluster.ParseKeys(text)
	if err != nil {
		return nil, &settingError{Wrong: "is unusable: " + strings.TrimPrefix(err.Error(), "cluster: "), Mend: makeKey}
	}
	return keys, nil
}

// gossipAddr is host:port of the gossip, or "" for none.
func (c *Config) gossipAddr() string {
	if strings.EqualFold(c.GossipAddr, "off") {
		return ""
	}
	return c.GossipAddr
}

// checkCluster checks what several nodes need, and reads the files with the URL of Redis and the gossip key.
func (c *Config) checkCluster() error {
	if err := c.loadRedisFile(); err != nil {
		return err
	}
	if c.gossipAddr() == "" {
		return c.checkNoGossip()
	}
	if c.Redis == nil {
		return &settingError{Setting: "gossip-addr", Wrong: "is set without LOGUX_REDIS", Mend: "the nodes route actions through Redis: set its URL too"}
	}
	for _, check := range []func() error{c.checkGossipAddr, c.checkAdvertise, c.checkJoin, c.checkGossipKey} {
		if err := check(); err != nil {
			return err
		}
	}
	if !nodeName.MatchString(c.Cluster) {
		return &settingError{Setting: "cluster", Wrong: "is " + quote(c.Cluster), Mend: "use at most 64 letters, digits, and -_. characters"}
	}
	return nil
}

// loadRedisFile reads the file with the URL into Redis.
func (c *Config) loadRedisFile() error {
	if c.RedisFile == "" {
		return nil
	}
	if c.Redis != nil {
		return &settingError{Setting: "redis-file", Wrong: "and LOGUX_REDIS are both set", Mend: "keep one of them"}
	}
	text, err := readRedisFile(c.RedisFile)
	if err != nil {
		return err
	}
	c.Redis, err = parseRedis(text, nil)
	return inFile(err, "redis-file", c.RedisFile)
}

// readRedisFile returns the URLs in a file, with commas between them.
func readRedisFile(path string) (string, error) {
	text, err := readFile("redis-file", path)
	return strings.Join(strings.Fields(string(text)), ","), err
}

// inFile makes a message about a value one about the file that it came from.
func inFile(err error, setting, path string) error {
	if wrong := (*settingError)(nil); errors.As(err, &wrong) {
		return &settingError{Setting: setting, Wrong: "names the file " + quote(path) + ", which " + wrong.Wrong, Mend: wrong.Mend}
	}
	return err
}

// defaultCluster is the default of LOGUX_CLUSTER.
const defaultCluster = "logux"

// checkNoGossip refuses the settings of gossip when there is none: whoever sets one expects that nodes talk.
func (c *Config) checkNoGossip() error {
	for _, s := range []struct {
		setting string
		set     bool
	}{
		{"join", len(c.Join) > 0},
		{"gossip-advertise", c.GossipAdvertise != ""},
		{"gossip-key", len(c.GossipKey) > 0},
		{"gossip-key-file", c.GossipKeyFile != ""},
		{"gossip-plain", c.GossipPlain},
		{"cluster", c.Cluster != defaultCluster},
	} {
		if s.set {
			return &settingError{Setting: s.setting, Wrong: "is set without LOGUX_GOSSIP_ADDR", Mend: "set that to an address such as 0.0.0.0:7946 or remove this"}
		}
	}
	return nil
}

// gossipHost reads an address of gossip, which is an IP address and a port.
func gossipHost(addr string) (netip.Addr, error) {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return netip.Addr{}, err
	}
	if strings.EqualFold(host, "localhost") {
		host = "127.0.0.1"
	}
	return netip.ParseAddr(host)
}

func (c *Config) checkGossipAddr() error {
	ip, err := gossipHost(c.gossipAddr())
	switch {
	case err != nil || ip.Zone() != "":
		return &settingError{Setting: "gossip-addr", Wrong: "is " + quote(c.GossipAddr) + ", which is no IP address and port", Mend: "write it as 0.0.0.0:7946"}
	case ip.Is6() && ip.IsUnspecified() && c.GossipAdvertise == "":
		return &settingError{Setting: "gossip-addr", Wrong: "is " + quote(c.GossipAddr) + ", which other nodes cannot call", Mend: "set LOGUX_GOSSIP_ADVERTISE to the address of this machine"}
	}
	return nil
}

// gossipAdvertise is LOGUX_GOSSIP_ADVERTISE with its port, or "".
func (c *Config) gossipAdvertise() string {
	if ip, err := netip.ParseAddr(strings.Trim(c.GossipAdvertise, "[]")); err == nil {
		_, port, _ := net.SplitHostPort(c.gossipAddr())
		return net.JoinHostPort(ip.String(), port)
	}
	return c.GossipAdvertise
}

func (c *Config) checkAdvertise() error {
	if c.GossipAdvertise == "" {
		return nil
	}
	addr, err := netip.ParseAddrPort(c.gossipAdvertise())
	if err != nil || addr.Port() == 0 || addr.Addr().IsUnspecified() || addr.Addr().Zone() != "" {
		return &settingError{
			Setting: "gossip-advertise", Wrong: "is " + quote(c.GossipAdvertise) + ", which other nodes cannot call",
			Mend: "use an IP address of this machine and a port, such as 10.1.2.3:7946",
		}
	}
	return nil
}

// maxJoin is how many names LOGUX_JOIN takes: a DNS name stands for as many nodes as it has addresses.
const maxJoin = 64

var hostName = regexp.MustCompile(`^[A-Za-z0-9_]([A-Za-z0-9_.-]{0,252})$`)

func (c *Config) checkJoin() error {
	if len(c.Join) > maxJoin {
		return &settingError{Setting: "join", Wrong: "holds " + strconv.Itoa(len(c.Join)) + " names", Mend: "use " + strconv.Itoa(maxJoin) + " at most: a DNS name may stand for all nodes"}
	}
	_, own, _ := net.SplitHostPort(c.gossipAddr())
	for _, text := range c.Join {
		host, port := text, own
		if !isAddress(strings.Trim(text, "[]")) && strings.Contains(text, ":") {
			var err error
			if host, port, err = net.SplitHostPort(text); err != nil {
				host = ""
			}
		}
		n, err := strconv.ParseUint(port, 10, 16)
		switch host = strings.Trim(host, "[]"); {
		case err == nil && n == 0 && text == host:
			return &settingError{Setting: "join", Wrong: "holds " + quote(text) + " without a port, and LOGUX_GOSSIP_ADDR has the port 0", Mend: "write it as " + host + ":7946"}
		case err != nil || n == 0, !isAddress(host) && !hostName.MatchString(host):
			return &settingError{Setting: "join", Wrong: "holds " + quote(text) + ", which is no host", Mend: "use addresses or DNS names with commas, with or without a port, such as node-2:7946"}
		}
	}
	return nil
}

// checkGossipKey reads the key's file into GossipKey.
func (c *Config) checkGossipKey() error {
	if c.GossipKeyFile != "" {
		if len(c.GossipKey) > 0 {
			return &settingError{Setting: "gossip-key-file", Wrong: "and LOGUX_GOSSIP_KEY are both set", Mend: "keep one of them"}
		}
		var err error
		if c.GossipKey, err = readGossipKeys(c.GossipKeyFile); err != nil {
			return err
		}
	}
	if ip, err := gossipHost(c.gossipAddr()); err == nil && !ip.IsLoopback() && len(c.GossipKey) == 0 && !c.GossipPlain {
		return &settingError{
			Setting: "gossip-key", Wrong: "is not set, and LOGUX_GOSSIP_ADDR is no loopback address: anybody could join",
			Mend: makeKey + ", the same for all nodes (or set LOGUX_GOSSIP_PLAIN=true)",
		}
	}
	return nil
}

// readGossipKeys reads the file of LOGUX_GOSSIP_KEY_FILE, which holds one key at least.
func readGossipKeys(path string) (gossipKeys, error) {
	text, err := readFile("gossip-key-file", path)
	if err != nil {
		return nil, err
	}
	keys, err := parseGossipKeys(strings.Join(strings.Fields(string(text)), ","), nil)
	if err == nil && len(keys) == 0 {
		err = &settingError{Wrong: "is empty", Mend: makeKey}
	}
	return keys, inFile(err, "gossip-key-file", path)
}
