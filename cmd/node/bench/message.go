package bench

import (
	"bytes"
	"encoding/json"
	"errors"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/gobwas/ws"

	"logux-proxy/cmd/node/bench/frame"
	"logux-proxy/wire"
)

// reader is what reading takes, shared by those that read at a time.
type reader struct {
	decoder wire.Decoder
	message wire.Message
	out     []byte
}

// As deep as anybody's action is.
var readers = sync.Pool{New: func() any { return &reader{decoder: wire.Decoder{MaxDepth: 1000}} }}

// consume handles the whole frames in data and returns the rest; whole is the beginning of a message in several frames. All
// answers leave in one write.
func (c *client) consume(data, whole []byte) (rest, begun []byte, err error) {
	if len(data) == 0 {
		return nil, whole, nil
	}
	r := readers.Get().(*reader)
	defer readers.Put(r)
	r.out = r.out[:0]
	c.mu.Lock()
	defer c.mu.Unlock()
	for {
		f, size, err := frame.Next(data)
		if err != nil {
			return nil, nil, err
		}
		if size == 0 {
			break
		}
		data = data[size:]
		switch f.Op {
		case ws.OpPing:
			r.out = frame.Append(r.out, ws.OpPong, f.Payload)
		case ws.OpPong:
		case ws.OpClose:
			_ = c.writeLocked(frame.Append(r.out, ws.OpClose, f.Payload[:min(len(f.Payload), 2)]))
			return nil, nil, closed(f.Payload)
		default:
			text := f.Payload
			if !f.Fin || len(whole) > 0 {
				if whole = append(whole, f.Payload...); len(whole) > maxWhole {
					return nil, nil, frame.ErrTooLong
				}
				text = whole
			}
			if f.Fin {
				if err := c.receiveLocked(r, text); err != nil {
					return nil, nil, err
				}
				whole = nil
			}
		}
	}
	if err := c.writeLocked(r.out); err != nil {
		return nil, nil, err
	}
	return slices.Clone(data), whole, nil
}

var (
	errUnreadable = errors.New("the server sent what is no Logux message")
	errSilent     = errors.New("the server is silent for too long")
	errGone       = errors.New("the server closed it without a word")
)

// receiveLocked handles one message; answers are added to r.out.
func (c *client) receiveLocked(r *reader, text []byte) error {
	m := &r.message
	if fault := r.decoder.Decode(text, m); fault != nil {
		if fault.Type == wire.ErrUnknownMessage {
			return nil // of a later protocol
		}
		return errUnreadable
	}
	switch m.Type {
	case wire.MessageConnected:
		if c.stage == connecting {
			c.acceptLocked(r)
		}
	case wire.MessageSync:
		at := now()
		c.got = max(c.got, m.Added)
		for i := range m.Pairs {
			c.actionLocked(r, &m.Pairs[i], at)
		}
		r.answer(wire.AppendSynced(nil, m.Added))
	case wire.MessageSynced:
		for i := range c.pending {
			if p := &c.pending[i]; p.added <= m.Added {
				p.body = nil
			}
		}
	case wire.MessagePing:
		r.answer(wire.AppendPong(nil, c.added))
	case wire.MessageError:
		kind := string(m.ErrorType)
		c.final = c.final || kind == "wrong-protocol" || kind == "wrong-subprotocol" || kind == "wrong-credentials"
		c.blame = "the server says " + kind
		if len(m.ErrorOptions) > 0 {
			c.blame += " " + short(string(m.ErrorOptions))
		}
	}
	return nil
}

func (r *reader) answer(text []byte) { r.out = frame.Append(r.out, ws.OpText, text) }

// acceptLocked begins the life of an accepted connection: what was not acknowledged is sent again, and the channels are subscribed to.
func (c *client) acceptLocked(r *reader) {
	c.base, c.stage = r.message.End, joining
	c.load.book.connected(now()-c.since, r.message.Protocol, c.times > 0)
	c.times++
	again := []byte(nil)
	for i := range c.pending {
		if p := &c.pending[i]; p.body != nil {
			again = c.appendPair(again, p)
		}
	}
	if again != nil {
		r.answer(append(append(wire.AppendSyncStart(nil, c.added), again...), ']'))
	}
	c.joins = len(c.load.config.Channels)
	for k := range c.joins {
		body := append([]byte(`{"type":"logux/subscribe","channel":`), jsonString(c.load.channel(c.number, k))...)
		r.answer(c.actLocked(pending{at: now(), place: k, body: append(body, '}')}))
	}
	c.joinedLocked()
}

// joinedLocked makes the client ready when no subscription is left.
func (c *client) joinedLocked() {
	if c.joins == 0 && c.stage == joining {
		c.stage = ready
		c.load.book.becameReady(!c.ready)
		c.ready = true
	}
}

// actLocked gives an action its ID and returns the message with it.
func (c *client) actLocked(p pending) []byte {
	c.added++
	c.lastID = max(c.lastID+1, time.Now().UnixMilli())
	p.added, p.ms = c.added, c.lastID
	c.pending = append(c.pending, p)
	return append(c.appendPair(wire.AppendSyncStart(nil, c.added), &p), ']')
}

// appendPair writes an action and its meta, relative to the connection's base time.
func (c *client) appendPair(dst []byte, p *pending) []byte {
	dst = append(append(dst, ','), p.body...)
	dst = append(dst, `,{"id":[`...)
	dst = strconv.AppendInt(dst, p.ms-c.base, 10)
	dst = append(dst, ',')
	dst = strconv.AppendInt(dst, p.number, 10)
	dst = append(dst, `],"time":`...)
	dst = strconv.AppendInt(dst, p.ms-c.base, 10)
	return append(dst, '}')
}

// actionLocked takes an action of the server, which came at a time.
func (c *client) actionLocked(r *reader, p *wire.Pair, at int64) {
	switch string(p.ActionType) {
	case "logux/processed", "logux/undo":
		var about struct{ ID, Reason string }
		if json.Unmarshal(p.Body, &about) == nil {
			c.outcomeLocked(about.ID, string(p.ActionType) == "logux/undo", about.Reason, at)
		}
		return
	}
	l := c.load
	number, ours := p.IDCounter, bytes.Contains(p.IDNode, []byte(":"+l.run+"-"))
	if !ours {
		number, ours = marked(p.Body, l.run)
	}
	if ours {
		l.book.deliver(c.number, number, l.channelOf, at)
	}
}

// outcomeLocked takes an outcome. One of another client's action, and one that comes again after a reconnect, is none.
func (c *client) outcomeLocked(id string, isUndo bool, reason string, at int64) {
	ms, rest, _ := strings.Cut(id, " ")
	node, counter, _ := strings.Cut(rest, " ")
	if node != c.node {
		return
	}
	i := slices.IndexFunc(c.pending, func(p pending) bool {
		return strconv.FormatInt(p.ms, 10) == ms && strconv.FormatInt(p.number, 10) == counter
	})
	if i < 0 {
		if c.times < 2 {
			c.load.book.fault("an action got two outcomes")
		}
		return
	}
	p := c.pending[i]
	if c.pending = slices.Delete(c.pending, i, i+1); len(c.pending) == 0 {
		c.pending = nil
	}
	result := processed
	if isUndo {
		result = undone
	}
	switch {
	case p.number > 0:
		c.load.book.settle(p.number, result, short(reason), at)
		return
	case isUndo:
		c.load.book.fault("subscription undone: " + short(reason))
	default:
		c.load.book.subscribed(c.number, p.place, c.load.channelOf(c.number, p.place), at-p.at)
	}
	c.joins--
	c.joinedLocked()
}

// act sends an action that was due at a time, if the client is ready.
func (c *client) act(due int64) (sent bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.stage != ready || c.leaving {
		return false
	}
	l := c.load
	v := values{client: c.number, ms: time.Now().UnixMilli(), run: l.run}
	k, channel := -1, -1
	if n := len(l.config.Channels); n > 0 {
		k = int(c.added) % n
		channel = l.channelOf(c.number, k)
		v.channel = l.channels[channel]
	}
	v.number = l.book.send(c.number, k, channel, due)
	body := l.config.Action.append(nil, v, true)
	text := c.actLocked(pending{number: v.number, at: due, body: body})
	_ = c.writeLocked(frame.Append(nil, ws.OpText, text)) // the reader hears of it
	return true
}

func (c *client) ping() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.writeLocked(frame.Append(nil, ws.OpText, wire.AppendPing(nil, c.added)))
}

func jsonString(text string) []byte {
	quoted, _ := json.Marshal(text) // a string always becomes JSON
	return quoted
}
