package gateway

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsutil"

	"logux-proxy/wire"
)

func contains(s, part string) bool { return strings.Contains(s, part) }

// A browser is a Logux client without a mind of its own, but that it confirms what it gets. It is for one goroutine.
type browser struct {
	t    testing.TB
	node wire.NodeID
	conn net.Conn
	r    *bufio.Reader

	decoder wire.Decoder
	base    int64
	last    int64    // of our syncs
	added   int64    // the last number it got
	events  []string // of messages that were read and not yet looked at
	deaf    bool     // it does not confirm
	got     []gotten // every action it got
}

// gotten is one action that a client got.
type gotten struct {
	id          wire.ActionID
	time        int64
	subprotocol string
	body        string
}

// dial opens a WebSocket without saying anything.
func (w *world) dial(header http.Header) *browser {
	w.t.Helper()
	return dialAddr(w.t, w.server.Addr().String(), header)
}

func dialAddr(t testing.TB, addr string, header http.Header) *browser {
	t.Helper()
	d := ws.Dialer{Header: ws.HandshakeHeaderHTTP(header), Timeout: patience}
	conn, r, _, err := d.Dial(context.Background(), "ws://"+addr)
	if err != nil {
		t.Fatal(err)
	}
	if r == nil {
		r = bufio.NewReader(conn)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return &browser{t: t, conn: conn, r: r}
}

// connect authenticates a new client. synced is the last number it got before.
func (w *world) connect(node wire.NodeID, synced ...int64) *browser {
	w.t.Helper()
	c := w.dial(nil)
	c.connect(node, synced...)
	return c
}

func (c *browser) connect(node wire.NodeID, synced ...int64) {
	c.t.Helper()
	c.node = node
	number := int64(0)
	if len(synced) > 0 {
		number = synced[0]
	}
	c.added = number
	c.send(fmt.Sprintf(`["connect",5,%q,%d,{"subprotocol":3}]`, node, number))
	c.want("connected")
}

// connectDevelopment is connect in development mode.
func (w *world) connectDevelopment(node wire.NodeID) *browser {
	w.t.Helper()
	c := w.dial(nil)
	c.node = node
	c.send(fmt.Sprintf(`["connect",5,%q,0]`, node))
	c.want("headers", "connected")
	return c
}

func (c *browser) send(text string) {
	c.t.Helper()
	if err := c.trySend(text); err != nil {
		c.t.Fatalf("%s: sending: %v", c.node, err)
	}
}

func (c *browser) trySend(text string) error {
	if err := c.conn.SetWriteDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	return wsutil.WriteClientText(c.conn, []byte(text))
}

// id is the ID of the client's n-th action.
func (c *browser) id(n int64) wire.ActionID { return actionID(c.node, n) }

// actionID is the ID of a node's n-th action, long before the test.
func actionID(node wire.NodeID, n int64) wire.ActionID {
	return wire.FormatActionID(1_500_000_000_000+n, node, 0)
}

// act sends its n-th action in a sync of its own.
func (c *browser) act(n int64, body string) wire.ActionID {
	c.t.Helper()
	c.last = max(c.last, n)
	c.send(fmt.Sprintf(`["sync",%d,%s]`, n, c.pair(n, body)))
	return c.id(n)
}

// pair is an action and its meta as they stand in a sync.
func (c *browser) pair(n int64, body string) string {
	ms := 1_500_000_000_000 + n - c.base
	return fmt.Sprintf(`%s,{"id":%d,"time":%d}`, body, ms, ms)
}

// drop ends the connection without a word.
func (c *browser) drop() { _ = c.conn.Close() }

// errDeadline says that nothing came in time.
var errDeadline = errors.New("nothing came")

// read reads one message and notes what is in it.
func (c *browser) read() error {
	if err := c.conn.SetReadDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	h, err := ws.ReadHeader(c.r)
	if err != nil {
		var timeout net.Error
		if errors.As(err, &timeout) && timeout.Timeout() {
			return errDeadline
		}
		c.events = append(c.events, "end")
		return nil
	}
	payload := make([]byte, h.Length)
	if _, err := io.ReadFull(c.r, payload); err != nil {
		c.events = append(c.events, "end")
		return nil //nolint:nilerr // the end is an event like others
	}
	if h.OpCode == ws.OpClose {
		code, _ := ws.ParseCloseFrameData(payload)
		c.events = append(c.events, fmt.Sprintf("close %d", code))
		return nil
	}
	return c.message(payload)
}

func (c *browser) message(text []byte) error {
	var m wire.Message
	if err := c.decoder.Decode(text, &m); err != nil {
		return fmt.Errorf("the server sent %s: %s", text, err.Cause)
	}
	note := func(format string, args ...any) { c.events = append(c.events, fmt.Sprintf(format, args...)) }
	switch m.Type {
	case wire.MessageConnected:
		c.base = m.End
		note("connected")
	case wire.MessageHeaders:
		note("headers")
	case wire.MessageSynced:
		note("synced %d", m.Added)
	case wire.MessagePong:
		note("pong")
	case wire.MessagePing:
		note("ping")
	case wire.MessageError:
		note("error %s", m.ErrorType)
	case wire.MessageDebug:
		note("debug %s", m.Debug)
	case wire.MessageSync:
		return c.synchronize(&m, note)
	}
	return nil
}

func (c *browser) synchronize(m *wire.Message, note func(string, ...any)) error {
	if m.Added <= c.added {
		return fmt.Errorf("a sync of number %d after %d", m.Added, c.added)
	}
	c.added = m.Added
	for i := range m.Pairs {
		p := &m.Pairs[i]
		node := wire.NodeID(p.IDNode)
		if p.IDNode == nil {
			node = "server"
		}
		g := gotten{
			id: wire.FormatActionID(p.IDTime+c.base, node, p.IDCounter), time: p.Time + c.base,
			subprotocol: string(p.Subprotocol), body: string(p.Body),
		}
		if p.ForeignKey {
			return fmt.Errorf("%s came with more meta than a client may see", g.body)
		}
		c.got = append(c.got, g)
		note("action %s", g.body)
	}
	if c.deaf {
		return nil
	}
	if err := c.trySend(fmt.Sprintf(`["synced",%d]`, m.Added)); err != nil {
		return nil //nolint:nilerr // the server may have closed meanwhile
	}
	return nil
}

// next returns the next event.
func (c *browser) next() string {
	c.t.Helper()
	for len(c.events) == 0 {
		if err := c.read(); err != nil {
			c.t.Fatalf("%s: %v", c.node, err)
		}
	}
	e := c.events[0]
	c.events = c.events[1:]
	return e
}

// want checks the next events.
func (c *browser) want(events ...string) {
	c.t.Helper()
	for _, e := range events {
		if got := c.next(); got != e {
			c.t.Fatalf("%s got %q, want %q", c.node, got, e)
		}
	}
}

// wantProcessed checks that the n-th action is acknowledged with number n and processed.
func (c *browser) wantProcessed(n int64) {
	c.t.Helper()
	c.want(fmt.Sprintf("synced %d", n), processedEvent(c.id(n)))
}

func processedEvent(id wire.ActionID) string {
	return fmt.Sprintf(`action {"type":"logux/processed","id":%q}`, id)
}

func undoEvent(id wire.ActionID, reason, body string) string {
	return fmt.Sprintf(`action {"type":"logux/undo","id":%q,"reason":%q,"action":%s}`, id, reason, body)
}

// wantAction checks the next action; acknowledgements may stand before it.
func (c *browser) wantAction(event string) {
	c.t.Helper()
	e := c.next()
	for contains(e, "synced ") {
		e = c.next()
	}
	if e != event {
		c.t.Fatalf("%s got %q, want %q", c.node, e, event)
	}
}

// wantAll checks the next events, which may come in any order.
func (c *browser) wantAll(events ...string) {
	c.t.Helper()
	got := make([]string, len(events))
	for i := range got {
		got[i] = c.next()
	}
	slices.Sort(got)
	slices.Sort(events)
	if !slices.Equal(got, events) {
		c.t.Fatalf("%s got %q, want %q", c.node, got, events)
	}
}

// alive checks that the connection works and that nothing else is on it.
func (c *browser) alive() {
	c.t.Helper()
	c.send(`["ping",0]`)
	c.want("pong")
}

// subscribe subscribes the client with its n-th action; the back-end agrees.
func (w *world) subscribe(c *browser, n int64, channel string) {
	w.t.Helper()
	body := subscribeBody(channel)
	c.act(n, body)
	w.backend.next(w.t, body).agree()
	c.wantProcessed(n)
}

func subscribeBody(channel string) string {
	name, err := json.Marshal(channel)
	if err != nil {
		panic(err)
	}
	return fmt.Sprintf(`{"type":"logux/subscribe","channel":%s}`, name)
}
