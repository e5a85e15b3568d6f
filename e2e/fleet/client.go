package fleet

import (
	"cmp"
	"encoding/json"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gobwas/ws"

	"logux-proxy/cmd/node/bench/frame"
	"logux-proxy/e2e/history"
)

// How a client behaves, after @logux/client.
const (
	firstRetry  = time.Second
	longest     = 5 * time.Second  // between two attempts to connect
	pingAfter   = 10 * time.Second // of silence
	timeout     = 70 * time.Second // of silence; a connection then counts as lost
	handshake   = 10 * time.Second
	clientShort = 4 << 10 // bytes read at once
)

// A Client is one client as @logux/client is one: it connects again after a break (first after 0.9 to 1.5 s, later up to 5 s), sends again what was not
// acknowledged, under the same IDs, and when that is acknowledged subscribes again to its channels. It records all it does and sees. One goroutine does the
// reading and connecting; Publish and the others may be called from anywhere.
type Client struct {
	// Static
	ID    string // client ID
	node  string // node ID
	crowd *Crowd

	rank atomic.Int64 // among those that may be connected; see Crowd.Present

	// Owned by the goroutine of run
	tries int

	mu sync.Mutex
	// Guarded by mu.

	conn     net.Conn // nil while there is none that was accepted
	number   int      // of the connection, from 1
	ended    bool     // the connection's end is recorded
	base     int64    // of the connection, ms
	server   string   // its server's node ID
	name     string   // and name, where it has one
	added    int64    // last number of an own action
	got      int64    // last number of the server's
	lastID   int64    // ms of the last own ID
	pending  []pending
	owed     map[string]time.Time // IDs of actions that were acknowledged, when, and have no outcome
	resent   int64                // above this number nothing was there when the client connected
	renewed  bool                 // it subscribed again on this connection
	wanted   []string             // channels
	rejected int                  // errors that the server sent
}

// pending is an own action that is not acknowledged.
type pending struct {
	added         int64
	ms            int64 // the ID is "ms node 0"
	kind, channel string
	mark          string
	body          []byte
	told          bool // the outcome is there
}

func (p *pending) id(node string) string { return fmt.Sprintf("%d %s 0", p.ms, node) }

// receiveLocked handles one message and appends the answer to out.
func (c *Client) receiveLocked(conn net.Conn, name string, text, out []byte) []byte {
	var m []json.RawMessage
	if json.Unmarshal(text, &m) != nil || len(m) < 2 {
		c.crowd.fail("%s got %s", c.ID, text)
		return out
	}
	switch string(m[0]) {
	case `"connected"`:
		var times [2]int64
		if len(m) < 4 || json.Unmarshal(m[3], &times) != nil || json.Unmarshal(m[2], &c.server) != nil {
			c.crowd.fail("%s got %s", c.ID, text)
			return out
		}
		c.acceptLocked(conn, name, times[1])
		return c.resendLocked(out)
	case `"sync"`:
		added, _ := strconv.ParseInt(string(m[1]), 10, 64)
		c.got = max(c.got, added)
		for i := 2; i+1 < len(m); i += 2 {
			c.actionLocked(m[i], m[i+1])
		}
		return frame.Append(out, ws.OpText, fmt.Appendf(nil, `["synced",%d]`, added))
	case `"synced"`:
		added, _ := strconv.ParseInt(string(m[1]), 10, 64)
		return c.syncedLocked(added, out)
	case `"ping"`:
		return frame.Append(out, ws.OpText, fmt.Appendf(nil, `["pong",%d]`, c.added))
	case `"error"`:
		c.rejected++
		c.crowd.Record.Add(history.Event{Kind: history.Fault, Client: c.ID, Node: name, Mark: string(text)})
	}
	return out
}

func (c *Client) acceptLocked(conn net.Conn, name string, base int64) {
	c.tries = 0
	c.conn, c.base, c.ended, c.renewed = conn, base, false, false
	c.number++
	c.name = cmp.Or(name, strings.TrimPrefix(c.server, "server:"))
	c.crowd.Record.Add(history.Event{Kind: history.Connected, Client: c.ID, Conn: c.number, Node: c.name})
}

// resendLocked sends what was not acknowledged, in one message.
func (c *Client) resendLocked(out []byte) []byte {
	c.resent = c.added
	if len(c.pending) == 0 {
		return c.renewLocked(out)
	}
	message := fmt.Appendf(nil, `["sync",%d`, c.added)
	for i := range c.pending {
		message = c.appendPairLocked(message, &c.pending[i])
	}
	return frame.Append(out, ws.OpText, append(message, ']'))
}

func (c *Client) appendPairLocked(dst []byte, p *pending) []byte {
	c.crowd.Record.Add(history.Event{
		Kind: history.Sent, Client: c.ID, Conn: c.number, Node: "", ID: p.id(c.node), Type: p.kind, Channel: p.channel, Mark: p.mark,
	})
	dst = append(append(dst, ','), p.body...)
	return fmt.Appendf(dst, `,{"id":%d,"time":%d}`, p.ms-c.base, p.ms-c.base)
}

// renewLocked subscribes to all channels, once a connection.
func (c *Client) renewLocked(out []byte) []byte {
	if c.renewed {
		return out
	}
	c.renewed = true
	for _, channel := range c.wanted {
		out = c.actLocked(out, history.Subscribe, channel, "", subscription(history.Subscribe, channel, c.lastID))
	}
	return out
}

func subscription(kind, channel string, since int64) []byte {
	if kind == history.Unsubscribe || since == 0 {
		return fmt.Appendf(nil, `{"type":%q,"channel":%q}`, kind, channel)
	}
	return fmt.Appendf(nil, `{"type":%q,"channel":%q,"since":{"id":"%d 0:0:0 0","time":%d}}`, kind, channel, since, since)
}

// syncedLocked takes an acknowledgement.
func (c *Client) syncedLocked(added int64, out []byte) []byte {
	n := 0
	for n < len(c.pending) && c.pending[n].added <= added {
		p := &c.pending[n]
		c.crowd.Record.Add(history.Event{Kind: history.Synced, Client: c.ID, Conn: c.number, ID: p.id(c.node)})
		if p.kind == "" && !p.told {
			c.owed[p.id(c.node)] = time.Now()
		}
		n++
	}
	c.pending = slices.Delete(c.pending, 0, n)
	if added >= c.resent {
		return c.renewLocked(out)
	}
	return out
}

// actionLocked takes an action of the server.
func (c *Client) actionLocked(body, meta json.RawMessage) {
	var a struct {
		Type, ID, Reason string
		M                string
	}
	id := c.absoluteLocked(meta)
	if json.Unmarshal(body, &a) != nil || id == "" {
		c.crowd.fail("%s got %s with %s", c.ID, body, meta)
		return
	}
	switch a.Type {
	case "logux/processed":
		c.toldLocked(a.ID, id, history.Processed)
	case "logux/undo":
		c.toldLocked(a.ID, id, a.Reason)
	default:
		c.crowd.Record.Add(history.Event{Kind: history.Received, Client: c.ID, Conn: c.number, ID: id, Mark: a.M})
	}
}

// toldLocked takes an outcome.
func (c *Client) toldLocked(id, by, result string) {
	c.crowd.Record.Add(history.Event{Kind: history.Outcome, Client: c.ID, Conn: c.number, ID: id, By: by, Result: result})
	delete(c.owed, id)
	for i := range c.pending {
		c.pending[i].told = c.pending[i].told || c.pending[i].id(c.node) == id
	}
}

// absoluteLocked reads one of the three forms of an ID; "" when it is none.
func (c *Client) absoluteLocked(meta json.RawMessage) string {
	var m struct{ ID json.RawMessage }
	if json.Unmarshal(meta, &m) != nil {
		return ""
	}
	if ms, err := strconv.ParseInt(string(m.ID), 10, 64); err == nil {
		return fmt.Sprintf("%d %s 0", ms+c.base, c.server)
	}
	var parts []json.RawMessage
	if json.Unmarshal(m.ID, &parts) != nil || len(parts) < 2 {
		return ""
	}
	ms, err := strconv.ParseInt(string(parts[0]), 10, 64)
	if err != nil {
		return ""
	}
	node := c.server
	if len(parts) == 3 && json.Unmarshal(parts[1], &node) != nil {
		return ""
	}
	return fmt.Sprintf("%d %s %s", ms+c.base, node, parts[len(parts)-1])
}

// actLocked makes an own action, and sends it when the client is connected: appended to out.
func (c *Client) actLocked(out []byte, kind, channel, mark string, body []byte) []byte {
	c.added++
	c.lastID = max(c.lastID+1, time.Now().UnixMilli())
	c.pending = append(c.pending, pending{added: c.added, ms: c.lastID, kind: kind, channel: channel, mark: mark, body: body})
	if c.conn == nil || c.ended {
		return out
	}
	message := fmt.Appendf(nil, `["sync",%d`, c.added)
	message = c.appendPairLocked(message, &c.pending[len(c.pending)-1])
	return frame.Append(out, ws.OpText, append(message, ']'))
}

func (c *Client) writeLocked(text []byte) bool {
	_, err := c.conn.Write(frame.Append(nil, ws.OpText, text))
	return err == nil
}

// act makes and sends an own action.
func (c *Client) act(kind, channel, mark string, body []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if out := c.actLocked(nil, kind, channel, mark, body); len(out) > 0 {
		_, _ = c.conn.Write(out)
	}
}

// Publish sends an action that the back-end re-sends to targets after taking delay for it. Without a connection it is sent with the next.
func (c *Client) Publish(targets *history.Targets, delay time.Duration) {
	mark := c.crowd.mark(c.ID)
	to, err := json.Marshal(targets)
	if err != nil {
		panic(err) // strings only
	}
	c.act("", "", mark, fmt.Appendf(nil, `{"type":"say","m":%q,"ms":%d,"to":%s}`, mark, delay.Milliseconds(), to))
}

// Subscribe subscribes to a channel now, unless there is no connection, and after each reconnect.
func (c *Client) Subscribe(channel string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !slices.Contains(c.wanted, channel) {
		c.wanted = append(c.wanted, channel)
	}
	c.sendNowLocked(history.Subscribe, channel)
}

// Unsubscribe ends a subscription.
func (c *Client) Unsubscribe(channel string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.wanted = slices.DeleteFunc(c.wanted, func(s string) bool { return s == channel })
	c.sendNowLocked(history.Unsubscribe, channel)
}

func (c *Client) sendNowLocked(kind, channel string) {
	if c.conn == nil || c.ended || !c.renewed {
		return // connecting again brings it
	}
	_, _ = c.conn.Write(c.actLocked(nil, kind, channel, "", subscription(kind, channel, c.lastID)))
}

// A Drop is how a client loses its connection.
type Drop int

// The ways.
const (
	Close  Drop = iota // it says goodbye
	Reset              // the network says that the client is gone
	Vanish             // nobody says anything: the server takes the connection for alive
	drops
)

// Drop ends the connection, if there is one.
func (c *Client) Drop(how Drop) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.conn == nil || c.ended {
		return
	}
	c.endLocked("")
	switch tcp, ok := c.conn.(*net.TCPConn); {
	case how == Vanish:
		c.crowd.vanish(c.conn)
		_ = c.conn.SetReadDeadline(time.Unix(1, 0))
		return
	case how == Reset && ok:
		_ = tcp.SetLinger(0)
	default:
		_, _ = c.conn.Write(frame.Append(nil, ws.OpClose, []byte{3, 232})) // 1000
	}
	_ = c.conn.Close()
}

// settled reports whether the client is connected, subscribed, and has no action that is not acknowledged.
func (c *Client) settled() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.conn != nil && !c.ended && c.renewed && len(c.pending) == 0
}

// owes is how many actions that were acknowledged before a time have no outcome.
func (c *Client) owes(before time.Time) (n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, at := range c.owed {
		if at.Before(before) {
			n++
		}
	}
	return n
}

// connected reports whether the client has an accepted connection.
func (c *Client) connected() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.conn != nil && !c.ended
}

// User is the client's user ID.
func (c *Client) User() string {
	user, _, _ := strings.Cut(c.ID, ":")
	return user
}
