package gateway

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"time"

	"github.com/gobwas/ws"

	"logux-proxy/wire"
)

// A nomad is a client that never stays. It behaves as a real client does.
type nomad struct {
	s    *nomadSim
	node wire.NodeID
	rnd  *rand.Rand
	stay bool // away

	conn      *nomadConn
	decoder   wire.Decoder
	base      int64
	connected bool

	n        int64   // actions made
	unacked  []int64 // numbers of actions
	got      int64   // the last number of the server's
	outcomes map[wire.ActionID]map[wire.ActionID]string
}

func newNomad(s *nomadSim, i int, seed uint64) *nomad {
	return &nomad{
		s: s, node: wire.NodeID(fmt.Sprintf("%d:c:tab", 10+i)), rnd: rand.New(rand.NewPCG(seed, uint64(i)+2)),
		outcomes: make(map[wire.ActionID]map[wire.ActionID]string),
	}
}

// live does one thing after another.
func (c *nomad) live() {
	if c.s.calm || c.n >= nomadActions {
		return
	}
	switch {
	case c.rnd.IntN(4) == 0:
		c.drop()
	default:
		for range 1 + c.rnd.IntN(3) {
			c.act()
		}
	}
	c.s.after(upTo(c.rnd, 3*time.Second), c.live)
}

// act makes an action.
func (c *nomad) act() {
	c.n++
	c.unacked = append(c.unacked, c.n)
	if c.connected {
		c.send(c.n)
	}
}

func (c *nomad) send(n int64) {
	ms := 1_500_000_000_000 + n - c.base
	c.conn.send(fmt.Sprintf(`["sync",%d,{"type":"say"},{"id":%d,"time":%d}]`, n, ms, ms))
}

// come connects to any server.
func (c *nomad) come() {
	if c.conn != nil || c.stay {
		return
	}
	srv := c.s.servers[c.rnd.IntN(len(c.s.servers))]
	if srv.dead {
		c.s.after(upTo(c.rnd, time.Second), c.come)
		return
	}
	c.s.note("%s comes to %s with %d", c.node, srv.life, c.got)
	c.conn = srv.open(c)
	c.conn.send(fmt.Sprintf(`["connect",5,%q,%d,{"subprotocol":3}]`, c.node, c.got))
}

// drop loses the connection, which its server may not see for long.
func (c *nomad) drop() {
	conn := c.conn
	if conn == nil {
		return
	}
	c.s.note("%s loses its connection to %s", c.node, conn.srv.life)
	seen := short(c.rnd)
	if c.rnd.IntN(3) == 0 {
		seen = upTo(c.rnd, 20*time.Second)
	}
	conn.srv.after(seen, conn.close)
	c.ended(conn)
}

// ended says that a connection is no good any more.
func (c *nomad) ended(conn *nomadConn) {
	if c.conn != conn {
		return
	}
	c.conn, c.connected = nil, false
	wait := short(c.rnd)
	if c.rnd.IntN(2) == 0 {
		wait = upTo(c.rnd, 3*time.Second)
	}
	c.s.after(wait, c.come)
}

// receive takes what a server wrote.
func (c *nomad) receive(conn *nomadConn, data []byte) {
	r := bytes.NewReader(data)
	for c.conn == conn && r.Len() > 0 {
		f, err := ws.ReadHeader(r)
		payload := make([]byte, f.Length)
		if err == nil {
			_, err = io.ReadFull(r, payload)
		}
		switch {
		case err != nil:
			c.s.wrong("%s: %v", c.node, err)
			return
		case f.OpCode == ws.OpClose:
			code, text := ws.ParseCloseFrameData(payload)
			c.s.note("%s is closed by %s: %d %s", c.node, conn.srv.life, code, text)
			c.ended(conn)
			return
		}
		c.message(payload)
	}
}

func (c *nomad) message(text []byte) {
	var m wire.Message
	if err := c.decoder.Decode(text, &m); err != nil {
		c.s.wrong("%s got %s: %s", c.node, text, err.Cause)
		return
	}
	c.s.note("%s got %s", c.node, text)
	switch m.Type {
	case wire.MessageConnected:
		c.base, c.connected = m.End, true
		for _, n := range c.unacked {
			c.send(n)
		}
	case wire.MessageSynced:
		for len(c.unacked) > 0 && c.unacked[0] <= m.Added {
			c.unacked = c.unacked[1:]
		}
	case wire.MessagePing:
		c.conn.send(`["pong",0]`)
	case wire.MessageError:
		c.s.wrong("%s got %s", c.node, text)
	case wire.MessageSync:
		c.sync(&m)
	}
}

func (c *nomad) sync(m *wire.Message) {
	if m.Added <= c.got {
		c.s.wrong("%s got a sync of number %d after %d", c.node, m.Added, c.got)
	}
	c.got = m.Added
	for i := range m.Pairs {
		p := &m.Pairs[i]
		var a struct {
			Type string
			ID   wire.ActionID
		}
		if err := json.Unmarshal(p.Body, &a); err != nil {
			c.s.wrong("%s got %s: %v", c.node, p.Body, err)
		}
		node := wire.NodeID(p.IDNode)
		if p.IDNode == nil {
			node = c.conn.srv.life.Node()
		}
		if c.outcomes[a.ID] == nil {
			c.outcomes[a.ID] = make(map[wire.ActionID]string)
		}
		c.outcomes[a.ID][wire.FormatActionID(p.IDTime+c.base, node, p.IDCounter)] = a.Type
	}
	c.conn.send(fmt.Sprintf(`["synced",%d]`, m.Added))
}

// undone reports whether one of an action's outcomes is an undo.
func (c *nomad) undone(id wire.ActionID) bool {
	for _, kind := range c.outcomes[id] {
		if kind == wire.TypeUndo {
			return true
		}
	}
	return false
}
