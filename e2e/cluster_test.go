package e2e

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"logux-proxy/backend/backendtest"
	"logux-proxy/e2e/fleet"
)

// startCluster starts n proxies with one Redis and gossip, and returns when each sees all.
func startCluster(t testing.TB, backendURL string, n int) []*proxy {
	t.Helper()
	redis := fleet.StartRedis(t, "127.0.0.1")
	gossip := make([]string, n)
	for i := range gossip {
		gossip[i] = fmt.Sprintf("127.0.0.1:%d", freePort(t))
	}
	proxies := make([]*proxy, n)
	for i := range proxies {
		proxies[i] = startProxy(t, backendURL, settings{"LOGUX_REDIS": redis.URL(), "LOGUX_GOSSIP_ADDR": gossip[i], "LOGUX_JOIN": strings.Join(gossip, ",")})
	}
	for _, p := range proxies {
		awaitPolling(t, fmt.Sprintf("the proxy sees %d nodes", n), func() bool { return int(p.metric(t, "logux_members")) == n })
	}
	return proxies
}

// clusterVersions are the releases that meet a cluster: the newest of each protocol that they speak, and the oldest.
var clusterVersions = []string{"0.9.3", "0.16.0", "0.21.1", "0.23.2"}

// Real clients on three nodes.
func TestRealClientsInACluster(t *testing.T) {
	t.Parallel()
	b := newBackend(t)
	nodes := startCluster(t, b.url, 3)
	for _, version := range clusterVersions {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			d := startDriver(t, version)
			for name, play := range map[string]func(*testing.T, *driver, *backend, []*proxy, string){
				"actions reach clients of other nodes": reachOthers,
				"moves to another node":                moves,
				"resubscribes at another node":         resubscribesElsewhere,
				"closes what it left open":             zombie,
			} {
				t.Run(name, func(t *testing.T) {
					t.Parallel()
					play(t, d, b, nodes, fmt.Sprintf("%s-%s", strings.Fields(name)[0], strings.ReplaceAll(version, ".", "-")))
				})
			}
		})
	}
}

// "Every live client addressed by a resend gets the action once, wherever it is connected", for every kind of target, from a client and from the control API.
func reachOthers(t *testing.T, d *driver, b *backend, nodes []*proxy, user string) {
	author := d.connect(t, nodes[0].addr, user+"-a", options{})
	readers := []*jsClient{author, d.connect(t, nodes[1].addr, user+"-b", options{}), d.connect(t, nodes[2].addr, user+"-c", options{})}
	channel := "counter/" + user
	for _, c := range readers {
		c.mustSync(t, fmt.Sprintf(`{"type":"logux/subscribe","channel":%q}`, channel))
	}
	one, two := readers[1], readers[2]
	for i, row := range []struct {
		to   backendtest.Targets
		want []int // how often each gets it
	}{
		{backendtest.Targets{Channels: []string{channel}}, []int{0, 1, 1}},
		{backendtest.Targets{Channels: []string{channel}, Users: []string{one.user}, Clients: []string{one.clientID}}, []int{0, 1, 1}},
		{backendtest.Targets{Channels: []string{channel}, ExcludeClients: []string{two.clientID}}, []int{0, 1, 0}},
		{backendtest.Targets{Users: []string{two.user}}, []int{0, 0, 1}},
		{backendtest.Targets{Clients: []string{one.clientID}}, []int{0, 1, 0}},
		{backendtest.Targets{Nodes: []string{one.nodeID, two.nodeID}}, []int{0, 1, 1}},
	} {
		say := fmt.Sprintf("SAY-%s-%d", user, i)
		b.Handle(say, backendtest.Script(backendtest.Resend(row.to), backendtest.Approved, backendtest.Processed))
		author.mustSync(t, fmt.Sprintf(`{"type":%q}`, say))
		meta, err := json.Marshal(row.to)
		if err != nil {
			t.Fatal(err)
		}
		post := fmt.Sprintf("POST-%s-%d", user, i)
		nodes[i%3].send(t, fmt.Sprintf(`{"type":%q}`, post), string(meta))
		for k, c := range readers {
			settleJS(t, nodes[0], c) // by the node of the author: after what it sent
			settleJS(t, nodes[i%3], c)
			if got := c.count(added(quote(say))); k != 0 && got != row.want[k] {
				t.Errorf("%+v: client %d got the action %d times, want %d", row.to, k, got, row.want[k])
			}
			want := row.want[k]
			if k == 0 && len(row.to.Channels) > 0 {
				want = 1 // the control API leaves nobody out
			}
			if got := c.count(added(quote(post))); got != want {
				t.Errorf("%+v: client %d got the control API's action %d times, want %d", row.to, k, got, want)
			}
		}
	}
}

// settleJS waits until everything that was sent to the client before by a node has come.
func settleJS(t *testing.T, by *proxy, c *jsClient) {
	t.Helper()
	marker := fmt.Sprintf("MARK %d", marks.Add(1))
	by.send(t, fmt.Sprintf(`{"type":%q}`, marker), fmt.Sprintf(`{"nodes":[%s]}`, quote(c.nodeID)))
	c.awaitEvent(t, "the marker", 1, added(quote(marker)))
}

// "A client that lost its connection and re-sends an action to any node does not get it processed twice; it gets the outcome where it is now."
func moves(t *testing.T, d *driver, b *backend, nodes []*proxy, user string) {
	l := newLine(t, nodes[0].addr)
	c := d.connect(t, l.addr, user, options{})
	release := newGate(t)
	b.Handle("SLOW-"+user, backendtest.Script(backendtest.Approved, release.wait, backendtest.Processed))
	outcome := c.sync(t, fmt.Sprintf(`{"type":"SLOW-%s"}`, user))
	cmd := b.awaitCommand(t, "the slow action", 1, byType("SLOW-"+user))
	l.down()
	c.awaitState(t, "disconnected", 1)
	l.lead(nodes[1].addr)
	l.up(t)
	c.awaitState(t, "sending", 2) // it sends the action again
	release.open()
	if r := outcome(); r.Rejected != nil {
		t.Errorf("the action was undone after the move: %+v", *r.Rejected)
	}
	c.mustSync(t, fmt.Sprintf(`{"type":"INC","counter":"counter/%s"}`, user))
	if n := b.Count(cmd.ID); n != 1 {
		t.Errorf("the back-end got the action %d times, want once", n)
	}
	if n := c.count(added(`"logux/processed"`, cmd.ID)); n != 1 {
		t.Errorf("the client got %d outcomes, want one", n)
	}
}

// "Clients re-subscribe by themselves after reconnecting, with since", to whatever node.
func resubscribesElsewhere(t *testing.T, d *driver, b *backend, nodes []*proxy, user string) {
	l := newLine(t, nodes[1].addr)
	c := d.connect(t, l.addr, user, options{})
	channel := "counter/" + user
	c.mustSync(t, fmt.Sprintf(`{"type":"logux/subscribe","channel":%q}`, channel))
	l.down()
	c.awaitState(t, "disconnected", 1)
	l.lead(nodes[2].addr)
	l.up(t)
	again := b.awaitCommand(t, "a second subscribe", 2, func(c *backendtest.Command) bool { return c.Channel == channel })
	if !strings.Contains(string(again.Action), `"since":{`) {
		t.Errorf("the second subscribe is %s, want it with since", again.Action)
	}
	c.awaitEvent(t, "the second subscription's logux/processed", 1, added(`"logux/processed"`, again.ID))
	nodes[0].send(t, fmt.Sprintf(`{"type":"NEWS-%s"}`, user), fmt.Sprintf(`{"channels":[%q]}`, channel))
	c.awaitEvent(t, "news on the channel", 1, added("NEWS-"+user))
	settleJS(t, nodes[0], c)
	if n := c.count(added("NEWS-" + user)); n != 1 {
		t.Errorf("the news came %d times, want once", n)
	}
}

// "A second connection with the same client ID replaces the first", on whatever node that is.
func zombie(t *testing.T, d *driver, _ *backend, nodes []*proxy, user string) {
	c := d.connect(t, nodes[0].addr, user, options{})
	_, tab, _ := strings.Cut(c.clientID, ":")
	other := connect(t, nodes[2].addr, user+":"+tab+":othertab", dialOptions{})
	c.awaitState(t, "disconnected", 1)
	other.close()
}
