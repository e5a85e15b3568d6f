package gateway

import (
	"net/url"
	"strconv"
	"strings"
	"time"

	"go.uber.org/zap"

	"logux-proxy/gateway/transport"
	"logux-proxy/wire"
)

// authenticate asks the back-end about the client (PROTOCOL section 5).
func (h *handler) authenticate(p *peer, auth *wire.Auth) {
	g := h.g
	if g.cfg.Attempts.Blocked(p.addr) {
		h.ready.Reset()
		p.session.Refuse(&h.ready)
		g.authDone(p, "bruteforce", 0, zap.Stringer("ipAddress", p.addr))
		h.drain(p)
		return
	}
	auth.AuthID = g.authPrefix + strconv.FormatUint(g.auths.Add(1), 36)
	auth.Cookies = parseCookies(p.request.Cookie)
	p.request = nil
	asked := time.Now()
	g.cfg.Backend.Authenticate(auth, func(a wire.Answer, err error) {
		t := &authenticated{p: p, answer: a, err: err, took: time.Since(asked)}
		if err != nil || a.Kind != wire.AnswerAuthenticated {
			h.loop.Post(t)
			return
		}
		// Whatever is addressed to the user must arrive before the client hears connected.
		g.joinMember(auth.NodeID.Client(), func(err error) {
			t.joined, t.err = true, err
			h.loop.Post(t)
		})
	})
}

// authenticated brings the back-end's answer back to the loop.
type authenticated struct {
	p      *peer
	answer wire.Answer
	err    error
	took   time.Duration
	joined bool // the bus counts us on the client's topics
}

// Run implements transport.Task.
func (t *authenticated) Run(l *transport.Loop) {
	p := t.p
	h, g := p.h, p.h.g
	leave := func() {
		if t.joined {
			g.leaveMember(p.session.Node().Client())
		}
	}
	if p.closed || p.conn.Closing() {
		leave()
		return
	}
	if t.err != nil {
		leave()
		t.answer = wire.Answer{}
	}
	h.ready.Reset()
	synced := p.session.Synced()
	p.session.Authenticated(h.now(), &t.answer, &h.ready)
	replay := h.ready.Replay
	h.report(p, t)
	h.drain(p)
	if p.session.Ready() {
		h.join(p, synced)
		for _, text := range replay {
			if p.conn.Closing() {
				break
			}
			h.replay(p, text)
		}
	}
	p.rearm()
	p.conn.Wake()
}

// report logs and counts how an authentication ended.
func (h *handler) report(p *peer, t *authenticated) {
	g := h.g
	subprotocol := zap.ByteString("subprotocol", p.session.Subprotocol())
	switch t.answer.Kind {
	case wire.AnswerAuthenticated:
		if t.answer.Subprotocol != nil {
			g.subprotocol.Store(&t.answer.Subprotocol)
		}
		g.authDone(p, "authenticated", t.took, subprotocol, zap.Stringer("ipAddress", p.addr))
	case wire.AnswerDenied:
		g.cfg.Attempts.Failed(p.addr)
		g.authDone(p, "denied", t.took, subprotocol, zap.Stringer("ipAddress", p.addr))
	case wire.AnswerWrongSubprotocol:
		g.authDone(p, "wrongSubprotocol", t.took, subprotocol, zap.ByteString("supported", t.answer.Supported))
	case wire.AnswerError:
		g.authDone(p, "error", t.took, zap.String("details", t.answer.Details))
		h.debug(p, t.answer.Details)
	default:
		g.authDone(p, "unavailable", t.took, zap.Error(t.err))
	}
}

// join makes the client known: from here on it gets what is addressed to it.
func (h *handler) join(p *peer, synced int64) {
	g := h.g
	p.member.Peer, p.member.Node = p, p.session.Node()
	p.joined = true
	var old *peer
	if m := g.hub.Add(&p.member); m != nil {
		old = m.Peer
		g.zombies.Add(1)
		old.h.loop.Post(&closePeer{p: old, code: closeNormal, text: replacedText, reason: transport.CloseZombie})
	}
	outcomes, ids, ok := g.ledger.attach(p, old, synced, h.loop.Now())
	if !ok {
		return // it is being closed
	}
	for i, out := range outcomes {
		p.enqueue(delivery{out: out, settles: ids[i]})
	}
	if g.cfg.Life != "" {
		h.arrive(p, synced)
	}
}

// replacedText is what a connection is told that is closed for a newer one of the same client.
const replacedText = "replaced by a newer connection"

// closePeer closes a connection from outside its loop.
type closePeer struct {
	p      *peer
	code   uint16
	text   string
	reason transport.CloseReason
}

// Run implements transport.Task.
func (t *closePeer) Run(*transport.Loop) { t.p.close(t.code, t.text, t.reason) }

func (g *Gateway) authDone(p *peer, outcome string, took time.Duration, fields ...zap.Field) {
	g.cfg.AuthDone(outcome, took)
	fields = append(fields, p.who(), zap.Duration("latency", took))
	switch outcome {
	case "authenticated":
		g.log.Info("User was authenticated", fields...)
	case "unavailable":
		g.log.Error("User could not be authenticated: the back-end did not answer", fields...)
	case "error":
		g.log.Error("User could not be authenticated: error on the back-end", fields...)
	case "bruteforce":
		g.log.Warn("Too many wrong authentication attempts from one address", fields...)
	default:
		g.log.Warn("User was not authenticated", append(fields, zap.String("outcome", outcome))...)
	}
}

// parseCookies reads a Cookie header as browsers write it: the first of a name counts, values are
// percent-decoded where they can be.
func parseCookies(header string) map[string]string {
	cookies := make(map[string]string)
	for part := range strings.SplitSeq(header, ";") {
		name, value, ok := strings.Cut(part, "=")
		name, value = strings.TrimSpace(name), strings.TrimSpace(value)
		if !ok || name == "" {
			continue
		}
		if _, known := cookies[name]; known {
			continue
		}
		if len(value) >= 2 && value[0] == '"' && value[len(value)-1] == '"' {
			value = value[1 : len(value)-1]
		}
		if decoded, err := url.PathUnescape(value); err == nil {
			value = decoded
		}
		cookies[name] = strings.ToValidUTF8(value, "\uFFFD")
	}
	return cookies
}
