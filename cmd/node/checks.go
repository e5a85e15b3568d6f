package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"go.uber.org/zap"

	"logux-proxy/backend"
	"logux-proxy/cluster"
)

// soon is how long before its end a certificate is worth a word.
const soon = 14 * 24 * time.Hour

// checkCertificate looks when the listener's certificate ends. That it fits its key is known.
func checkCertificate(r *report, c *Config, now time.Time) {
	if c.Cert == "" {
		return
	}
	pair, err := loadKeyPair("cert", c.Cert, "key", c.Key)
	if err != nil {
		r.say(checkWrong, "certificate", err.Error())
		return
	}
	ends := pair.Leaf.NotAfter.UTC().Format(time.DateOnly)
	switch left := pair.Leaf.NotAfter.Sub(now); {
	case left <= 0:
		r.fail("certificate", "that of LOGUX_CERT ended on "+ends, "renew it; the node reads the new file by itself")
	case now.Before(pair.Leaf.NotBefore):
		r.fail("certificate", "that of LOGUX_CERT begins on "+pair.Leaf.NotBefore.UTC().Format(time.DateOnly), "see that this machine's clock is right")
	case left < soon:
		r.say(checkWarn, "certificate", "that of LOGUX_CERT ends on "+ends+": see that something renews it")
	default:
		r.say(checkOK, "certificate", "valid until "+ends)
	}
}

// checkPorts opens each listener's address for a moment.
func checkPorts(r *report, c *Config) {
	for _, l := range []struct{ setting, addr string }{
		{"port", c.listenAddr()}, {"control-addr", c.ControlAddr}, {"admin-addr", c.adminAddr()}, {"gossip-addr", c.gossipAddr()},
	} {
		if l.addr == "" {
			continue
		}
		err := tryListen("tcp", l.addr)
		if err == nil && l.setting == "gossip-addr" {
			err = tryListen("udp", l.addr)
		}
		if err != nil {
			r.say(checkWrong, "listening", listenError(l.setting, l.addr, err).Error())
			continue
		}
		r.say(checkOK, "listening", envName(l.setting)+": "+l.addr+" is free")
	}
}

// tryListen takes addr and gives it back.
func tryListen(network, addr string) error {
	if network == "udp" {
		conn, err := net.ListenPacket(network, addr)
		if err != nil {
			return err
		}
		return conn.Close()
	}
	listener, err := net.Listen(network, addr)
	if err != nil {
		return err
	}
	return listener.Close()
}

// checkBackend asks the back-end for nothing, with the secret.
func checkBackend(ctx context.Context, r *report, c *Config) {
	const what = "back-end"
	bc, err := backendConfig(c, newMetrics(func() int64 { return 0 }), zap.NewNop())
	if err != nil {
		r.say(checkWrong, what, err.Error())
		return
	}
	bc.ConnectTimeout, bc.FirstByteTimeout = min(bc.ConnectTimeout, checkPatience), min(c.BackendTimeout, checkPatience)
	at := c.Backend.Scheme + "://" + c.Backend.Host + c.Backend.Path // the rest may hold a key
	answer, err := backend.Check(ctx, bc)
	if err != nil {
		why := unreachable(err, "LOGUX_BACKEND", "LOGUX_BACKEND_CA", "http://", "https://")
		r.fail(what, at+" does not answer: "+why.wrong, why.mend)
		return
	}
	judgeBackend(r, at, answer)
}

// judgeBackend says what the back-end's answer to a request without commands means. A library need not expect one: a 400
// or no array may be all right.
func judgeBackend(r *report, at string, answer backend.CheckAnswer) {
	const what = "back-end"
	said := fmt.Sprintf("%s answers %d", at, answer.Status)
	switch status := answer.Status; {
	case status >= 200 && status < 300 && answer.Array:
		r.say(checkOK, what, at+" answers and accepts the secret")
	case status >= 200 && status < 300 && answer.Markup:
		r.fail(what, said+" with a page for people, and not as a Logux library", "mend the address or the path of LOGUX_BACKEND")
	case status == http.StatusBadRequest && answer.WantsTLS:
		r.fail(what, said+": it wants TLS", "write https:// for http:// in LOGUX_BACKEND")
	case status >= 200 && status < 300:
		r.say(checkWarn, what, said+" but not with an array; see that its path is that of the Logux library")
	case status >= 300 && status < 400:
		r.fail(what, said+", a redirect, which is not followed", "set LOGUX_BACKEND to where it leads")
	case status == http.StatusUnauthorized:
		r.fail(what, said+": it wants a name and a password", "write them into LOGUX_BACKEND as http://NAME:PASSWORD@HOST, or let it ask for none")
	case status == http.StatusForbidden:
		r.fail(what, said+": it refuses the secret", "set LOGUX_CONTROL_SECRET to the one that the back-end knows")
	case status == http.StatusNotFound || status == http.StatusMethodNotAllowed:
		r.fail(what, said+": the Logux library is not at this path", "mend the path of LOGUX_BACKEND")
	case status == http.StatusBadRequest || status == http.StatusUnprocessableEntity:
		r.say(checkWarn, what, said+" to a request without commands; it is there, but may not speak version 4 (LOGUX_BACKEND_VERSION), and the secret was not tried")
	case status == http.StatusTooManyRequests:
		r.fail(what, said+": it locked this machine out, perhaps for a wrong secret", "wait and see that LOGUX_CONTROL_SECRET is the one that the back-end knows")
	default:
		r.fail(what, said, "look into its log")
	}
}

// checkRedis tries everything that a node needs from each Redis.
func checkRedis(ctx context.Context, r *report, c *Config) {
	if c.Redis == nil {
		return
	}
	handovers := make(chan error, 1)
	go func() { handovers <- c.Redis.CheckHandovers(ctx, checkPatience) }()
	err, second := c.Redis.Check(ctx, checkPatience), <-handovers
	if err == nil || !errors.Is(err, cluster.ErrRefused) && errors.Is(second, cluster.ErrRefused) {
		err = second // of two faults the one that will not go away by itself
	}
	if err == nil {
		r.say(checkOK, "Redis", c.Redis.String()+" answers and allows what a node needs")
		return
	}
	for _, fault := range cluster.RedisFaults(err) {
		why := unreachable(fault.Err, "LOGUX_REDIS", "?ca= of LOGUX_REDIS", "redis://", "rediss://")
		switch answer := fault.Answer(); {
		case answer != "":
			why = refusedByRedis(answer)
		case fault.NoRedis():
			why = diagnosis{"what answers there is no Redis", "mend the port in LOGUX_REDIS"}
		}
		r.fail("Redis", fault.Server+": "+why.wrong, why.mend)
	}
}

// checkPeer connects to another node and asks it for a word of gossip. It returns how many nodes were reached.
func checkPeer(ctx context.Context, r *report, c *Config, addr string) int {
	const what = "peers"
	if err := tryConnect(ctx, addr); err != nil {
		r.say(checkWarn, what, addr+" does not answer: "+networkReason(err)+"; see that it runs and that firewalls let TCP and UDP through")
		return 0
	}
	at, err := netip.ParseAddrPort(addr)
	if err == nil {
		err = cluster.CheckMember(ctx, cluster.MembersConfig{Cluster: c.Cluster, Keys: c.GossipKey, AllowPlain: true}, at)
	}
	if err != nil {
		mend := "see that LOGUX_GOSSIP_KEY and LOGUX_CLUSTER are the same there, and that firewalls let UDP through"
		if !errors.Is(err, cluster.ErrNoGossip) {
			mend = networkReason(err)
		}
		r.fail(what, addr+" takes connections but no gossip of this node", mend)
		return 1
	}
	r.say(checkOK, what, addr+" answers, by TCP and by UDP")
	return 1
}

// checkPeers looks the names of LOGUX_JOIN up and asks each address. That nobody answers is no fault: somebody
// has to be the first.
func checkPeers(ctx context.Context, r *report, c *Config) {
	if c.gossipAddr() == "" || len(c.Join) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, checkPatience)
	defer cancel()
	_, port, _ := net.SplitHostPort(c.gossipAddr())
	own, reached := ownAddresses(port), 0
	for _, name := range c.Join {
		addrs, err := joinAddresses(ctx, name, port)
		if err != nil {
			r.say(checkWarn, "peers", name+" has no address: "+networkReason(err)+"; see LOGUX_JOIN, unless this is the first node")
			continue
		}
		for _, addr := range addrs {
			if own[addr] || addr == c.gossipAddr() || addr == c.gossipAdvertise() {
				continue
			}
			reached += checkPeer(ctx, r, c, addr)
		}
	}
	if reached == 0 {
		r.say(checkWarn, "peers", "no other node answers; that is as it should be for the first one only")
	}
}

// checkCollector sends the collector no spans. The proxy works without it.
func checkCollector(ctx context.Context, r *report, c *Config) {
	if c.Trace == nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, checkPatience)
	defer cancel()
	u := newTraceUpload(c.traceURL(), c.traceEnv, zap.NewNop())
	defer func() { _ = u.Stop(ctx) }()
	at := shownURL(c.traceURL())
	if _, err := u.post(ctx, nil); err != nil {
		r.say(checkWarn, "traces", at+" takes none: "+networkReason(err)+"; start it, or mend LOGUX_TRACE (or OTEL_EXPORTER_OTLP_CERTIFICATE for https://), until then traces are lost and nothing else")
		return
	}
	r.say(checkOK, "traces", at+" takes them")
}

// joinAddresses are the addresses, with ports, that a name of LOGUX_JOIN stands for.
func joinAddresses(ctx context.Context, name, port string) ([]string, error) {
	host := strings.Trim(name, "[]")
	if !isAddress(host) && strings.Contains(name, ":") {
		var err error
		if host, port, err = net.SplitHostPort(name); err != nil {
			return nil, err
		}
	}
	if isAddress(host) {
		return []string{net.JoinHostPort(host, port)}, nil
	}
	hosts, err := net.DefaultResolver.LookupHost(ctx, host)
	if err != nil {
		return nil, err
	}
	addrs := make([]string, 0, len(hosts))
	for _, h := range hosts[:min(len(hosts), maxChecked)] {
		addrs = append(addrs, net.JoinHostPort(h, port))
	}
	return addrs, nil
}

// maxChecked is how many addresses of one name are tried.
const maxChecked = 16

// ownAddresses are those of this machine with this port: a name of all nodes has them too.
func ownAddresses(port string) map[string]bool {
	own := make(map[string]bool)
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return own
	}
	for _, a := range addrs {
		if network, ok := a.(*net.IPNet); ok {
			own[net.JoinHostPort(network.IP.String(), port)] = true
		}
	}
	return own
}

// tryConnect opens a connection and closes it.
func tryConnect(ctx context.Context, addr string) error {
	dialer := net.Dialer{Timeout: checkPatience}
	conn, err := dialer.DialContext(ctx, "tcp", addr)
	if err != nil {
		return err
	}
	return conn.Close()
}
