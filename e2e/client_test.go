package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsutil"
)

// A client is a small Logux client that hides nothing: it sends what the test says and keeps every message that comes. By itself it only acknowledges
// sync messages and answers pings, as every client does.
type client struct {
	nodeID string
	conn   net.Conn
	wg     sync.WaitGroup

	mu       sync.Mutex
	base     int64 // the connection's base time, ms
	counter  int
	added    int
	server   string // its node ID
	messages []message
	came     []action // of the sync messages
	closed   bool
	code     ws.StatusCode // of the close frame; 0 without one
	silent   bool          // do not acknowledge
	news
}

// A message is one that came, taken apart.
type message struct {
	raw      string
	kind     string
	elements []json.RawMessage
}

// action is one that came in a sync message, with the ID made absolute.
type action struct {
	id   string
	time int64
	body string
	meta string
}

// dialOptions say how a client comes in; the zero value is an ordinary client of protocol 4.
type dialOptions struct {
	protocol    int
	token       string
	subprotocol string // raw JSON
	synced      int
	header      http.Header
	from        net.IP // source address
}

// open upgrades a connection and sends nothing.
func open(t testing.TB, addr, nodeID string, o dialOptions) *client {
	t.Helper()
	c, err := tryOpen(t.Context(), addr, nodeID, o)
	if err != nil {
		t.Fatalf("opening a WebSocket: %v", err)
	}
	t.Cleanup(c.close)
	return c
}

func tryOpen(ctx context.Context, addr, nodeID string, o dialOptions) (*client, error) {
	dialer := ws.Dialer{Header: ws.HandshakeHeaderHTTP(o.header), Timeout: patience}
	if o.from != nil {
		from := net.Dialer{LocalAddr: &net.TCPAddr{IP: o.from}}
		dialer.NetDial = from.DialContext
	}
	conn, buffered, _, err := dialer.Dial(ctx, "ws://"+addr+"/")
	if err != nil {
		return nil, err
	}
	c := &client{nodeID: nodeID, conn: conn, added: o.synced}
	c.wg.Go(func() {
		if buffered != nil { // bytes that came together with the handshake's answer
			c.read(buffered)
			return
		}
		c.read(conn)
	})
	return c, nil
}

// connectMessage is the connect message of a client.
func connectMessage(nodeID string, o dialOptions) string {
	var opts []string
	if o.token != "" {
		opts = append(opts, `"token":`+quote(o.token))
	}
	if o.subprotocol != "" {
		opts = append(opts, `"subprotocol":`+o.subprotocol)
	}
	if o.protocol == 0 {
		o.protocol = 4
	}
	return fmt.Sprintf(`["connect",%d,%s,%d,{%s}]`, o.protocol, quote(nodeID), o.synced, strings.Join(opts, ","))
}

// connect opens a client and waits until it is let in.
func connect(t testing.TB, addr, nodeID string, o dialOptions) *client {
	t.Helper()
	c := open(t, addr, nodeID, o)
	c.send(t, connectMessage(nodeID, o))
	c.awaitMessage(t, "connected", 1)
	return c
}

// send writes one text message.
func (c *client) send(t testing.TB, text string) {
	t.Helper()
	if err := c.write(text); err != nil {
		t.Fatalf("%s sending %s: %v", c.nodeID, text, err)
	}
}

func (c *client) write(text string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return wsutil.WriteClientText(c.conn, []byte(text))
}

// sync sends one action and returns its ID.
func (c *client) sync(t testing.TB, body string) string {
	t.Helper()
	return c.syncAs(t, body, "")
}

// syncAs is sync with more keys for the meta, as JSON starting with a comma.
func (c *client) syncAs(t testing.TB, body, more string) string {
	t.Helper()
	text, id := c.pair(body, more)
	c.mu.Lock()
	c.added++
	added := c.added
	c.mu.Unlock()
	c.send(t, fmt.Sprintf(`["sync",%d,%s]`, added, text))
	return id
}

// pair makes an action and its meta for a sync message, and tells the absolute ID.
func (c *client) pair(body, more string) (text, id string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.counter++
	now := time.Now().UnixMilli() - c.base
	return fmt.Sprintf(`%s,{"id":[%d,%d],"time":%d%s}`, body, now, c.counter, now, more),
		fmt.Sprintf("%d %s %d", now+c.base, c.nodeID, c.counter)
}

func (c *client) read(from io.Reader) {
	defer func() {
		c.mu.Lock()
		c.closed = true
		c.mu.Unlock()
		c.changed()
	}()
	for {
		header, err := ws.ReadHeader(from)
		if err != nil {
			return
		}
		payload := make([]byte, header.Length)
		if _, err := io.ReadFull(from, payload); err != nil {
			return
		}
		switch header.OpCode {
		case ws.OpClose:
			c.mu.Lock()
			c.code, _ = ws.ParseCloseFrameData(payload)
			_ = ws.WriteFrame(c.conn, ws.MaskFrameInPlace(ws.NewCloseFrame(payload)))
			c.mu.Unlock()
		case ws.OpPing:
			c.mu.Lock()
			_ = ws.WriteFrame(c.conn, ws.MaskFrameInPlace(ws.NewPongFrame(payload)))
			c.mu.Unlock()
		case ws.OpText, ws.OpContinuation:
			c.received(payload)
		}
	}
}

func (c *client) received(payload []byte) {
	m := message{raw: string(payload)}
	_ = json.Unmarshal(payload, &m.elements)
	if len(m.elements) > 0 {
		_ = json.Unmarshal(m.elements[0], &m.kind)
	}
	reply := ""
	c.mu.Lock()
	c.messages = append(c.messages, m)
	switch m.kind {
	case "connected":
		var times [2]int64
		_ = json.Unmarshal(m.elements[3], &times)
		c.base = times[1]
		_ = json.Unmarshal(m.elements[2], &c.server)
	case "sync":
		for i := 2; i+1 < len(m.elements); i += 2 {
			c.came = append(c.came, c.absoluteLocked(m.elements[i], m.elements[i+1]))
		}
		reply = fmt.Sprintf(`["synced",%s]`, m.elements[1])
	case "ping":
		reply = fmt.Sprintf(`["pong",%d]`, c.added)
	}
	silent := c.silent
	c.mu.Unlock()
	if reply != "" && !silent {
		_ = c.write(reply)
	}
	c.changed()
}

// close ends the connection without a word.
func (c *client) close() {
	_ = c.conn.Close()
	c.wg.Wait()
}

// all returns the messages so far.
func (c *client) all() []message {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.messages)
}

// of returns the messages of a kind so far.
func (c *client) of(kind string) []message {
	return slices.DeleteFunc(c.all(), func(m message) bool { return m.kind != kind })
}

// awaitMessage returns the n-th message (from 1) of a kind.
func (c *client) awaitMessage(t testing.TB, kind string, n int) message {
	t.Helper()
	if !c.awaitFor(patience, func() bool { return len(c.of(kind)) >= n }) {
		t.Fatalf("%s: waited %v in vain for %q number %d; %s", c.nodeID, patience, kind, n, c.story())
	}
	return c.of(kind)[n-1]
}

// awaitClosed waits until the server has ended the connection and returns the close code.
func (c *client) awaitClosed(t testing.TB) ws.StatusCode {
	t.Helper()
	gone := func() bool {
		_, closed := c.gone()
		return closed
	}
	if !c.awaitFor(patience, gone) {
		t.Fatalf("%s: waited %v in vain for the end of the connection; %s", c.nodeID, patience, c.story())
	}
	code, _ := c.gone()
	return code
}

// gone reports whether the connection has ended, and the code of the server's close frame.
func (c *client) gone() (ws.StatusCode, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.code, c.closed
}

// story tells all that came, for failures.
func (c *client) story() string {
	var b strings.Builder
	b.WriteString("it got:")
	for _, m := range c.all() {
		b.WriteString("\n  ")
		b.WriteString(m.raw[:min(len(m.raw), 400)])
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	fmt.Fprintf(&b, "\n  closed: %v, code %d", c.closed, c.code)
	return b.String()
}

// actions returns what came in sync messages, in order.
func (c *client) actions() []action {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.came)
}

// absoluteLocked reads one of the three forms of an ID (PROTOCOL section 2).
func (c *client) absoluteLocked(body, meta json.RawMessage) action {
	var m struct {
		ID   json.RawMessage
		Time int64
	}
	_ = json.Unmarshal(meta, &m)
	base, server := c.base, c.server
	a := action{body: string(body), meta: string(meta), time: m.Time + base}
	var ms int64
	var parts []json.RawMessage
	switch {
	case json.Unmarshal(m.ID, &ms) == nil:
		a.id = fmt.Sprintf("%d %s 0", ms+base, server)
	case json.Unmarshal(m.ID, &parts) == nil && len(parts) == 2:
		_ = json.Unmarshal(parts[0], &ms)
		a.id = fmt.Sprintf("%d %s %s", ms+base, server, parts[1])
	case len(parts) == 3:
		var node string
		_ = json.Unmarshal(parts[0], &ms)
		_ = json.Unmarshal(parts[1], &node)
		a.id = fmt.Sprintf("%d %s %s", ms+base, node, parts[2])
	}
	return a
}

// having returns the actions so far whose body contains each of parts.
func (c *client) having(parts ...string) []action {
	return slices.DeleteFunc(c.actions(), func(a action) bool {
		return slices.ContainsFunc(parts, func(p string) bool { return !strings.Contains(a.body, p) })
	})
}

// awaitAction returns the first action whose body contains each of parts.
func (c *client) awaitAction(t testing.TB, parts ...string) action {
	t.Helper()
	if !c.awaitFor(patience, func() bool { return len(c.having(parts...)) > 0 }) {
		t.Fatalf("%s: waited %v in vain for an action with %q; %s", c.nodeID, patience, parts, c.story())
	}
	return c.having(parts...)[0]
}

// outcomes returns the outcomes so far of an own action: "processed" or a reason.
func (c *client) outcomes(id string) []string {
	var all []string
	for _, a := range c.actions() {
		var o struct{ Type, ID, Reason string }
		if json.Unmarshal([]byte(a.body), &o) != nil || o.ID != id {
			continue
		}
		switch o.Type {
		case "logux/processed":
			all = append(all, "processed")
		case "logux/undo":
			all = append(all, o.Reason)
		}
	}
	return all
}

// awaitOutcome waits for the outcome of an own action.
func (c *client) awaitOutcome(t testing.TB, id string) string {
	t.Helper()
	if !c.awaitFor(patience, func() bool { return len(c.outcomes(id)) > 0 }) {
		t.Fatalf("%s: waited %v in vain for the outcome of %q; %s", c.nodeID, patience, id, c.story())
	}
	return c.outcomes(id)[0]
}

// do sends an action and returns its outcome.
func (c *client) do(t testing.TB, body string) string {
	t.Helper()
	return c.awaitOutcome(t, c.sync(t, body))
}

// subscribe subscribes to a channel and fails unless that is processed.
func (c *client) subscribe(t testing.TB, channel string) {
	t.Helper()
	if got := c.do(t, fmt.Sprintf(`{"type":"logux/subscribe","channel":%s}`, quote(channel))); got != "processed" {
		t.Fatalf("%s: subscribing to %s ended in %s, want processed", c.nodeID, channel, got)
	}
}

// settle waits until everything that was sent to the client before has come: a marker of the control API comes last.
func (c *client) settle(t testing.TB, p *proxy) {
	t.Helper()
	c.settleBy(t, p.addr)
}

// settleBy is settle through the control API at addr.
func (c *client) settleBy(t testing.TB, addr string) {
	t.Helper()
	marker := fmt.Sprintf("MARK %d", marks.Add(1))
	post(t, addr, fmt.Sprintf(`{"type":%q}`, marker), fmt.Sprintf(`{"nodes":[%s]}`, quote(c.nodeID)))
	c.awaitAction(t, quote(marker))
}

var marks atomic.Int64

func quote(s string) string {
	b, err := json.Marshal(s)
	if err != nil {
		panic(err)
	}
	return string(b)
}
