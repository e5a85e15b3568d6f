package session

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"logux-proxy/wire"
)

// FuzzSession plays a conversation: each line is a message of the client, or, when it begins with "!", an
// event of the server.
func FuzzSession(f *testing.F) {
	const connect = `["connect",5,"10:client:tab",0]` + "\n!auth\n"
	for _, seed := range []string{
		connect + `["sync",1,{"type":"A"},{"id":1,"time":1}]` + "\n!settle 0\n!wait 30\n" + `["pong",0]`,
		connect + `["sync",2,{"type":"A"},{"id":1,"time":1},{"type":"A"},{"id":[1,"10:client:b",1],"time":1}]` + "\n!settle 1\n!wait 14\n!wait 2\n!settle 0",
		connect + "!send 3\n" + `["synced",1]` + "\n" + `["ping",1]` + "\n!wait 69\n!wait 2",
		connect + "!pause\n!wait 100\n!resume\n!wait 25\n!wait 100",
		`["sync",1,{"type":"A"},{"id":1,"time":1}]` + "\n" + `["headers",{"a":"b"}]` + "\n" + connect + "!settle 0\n" + connect,
		`["ping",1]` + "\n" + `["connect",2,"10:c:t",0]`, `["connect",5,"server:c:t",0,{"token":"a"}]`, "!wait 80",
		`["connect",4,"10:c:t",7,{"subprotocol":"1.0.0"}]` + "\n!denied", `["connect",3,"uuid",7]` + "\n!wrong", `["connect",3,"uuid",7]` + "\n!nothing",
		connect + `["sync",1,{"type":"logux/subscribe","channel":"a","filter":{"b":1}},{"id":1,"time":1}]` + "\n" + `["sync",1,{"type":"logux/subscribe","filter":1},{"id":1,"time":1}]`,
		connect + `["connected",5,"a",[0,0]]`, "!refuse", `["unknown"]`, `["debug","error","a"]`,
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, script string) {
		const most = 300
		z := fuzzed{driver: newDriver(t)}
		z.cfg.Development = len(script)%2 == 0
		z.s.Init(&z.cfg, z.now())
		for i, line := range strings.SplitN(script, "\n", most) {
			if i == most-1 {
				break
			}
			z.line(line)
		}
	})
}

// fuzzed is a driver that knows what must never happen.
type fuzzed struct {
	*driver
	model     ackModel
	open      []wire.ActionID
	connected int
	closed    bool
	added     int64
	message   int64 // number of the message received last
}

func (z *fuzzed) line(line string) {
	event, number, _ := strings.Cut(line, " ")
	n, _ := strconv.Atoi(number)
	n = max(n, 0)
	switch event {
	case "!auth":
		z.call(func() { z.s.Authenticated(z.now(), &wire.Answer{Kind: wire.AnswerAuthenticated}, &z.out) })
	case "!denied":
		z.call(func() { z.s.Authenticated(z.now(), &wire.Answer{Kind: wire.AnswerDenied}, &z.out) })
	case "!wrong":
		z.call(func() { z.s.Authenticated(z.now(), &wire.Answer{Kind: wire.AnswerWrongSubprotocol}, &z.out) })
	case "!nothing":
		z.call(func() { z.s.Authenticated(z.now(), &wire.Answer{}, &z.out) })
	case "!refuse":
		if !z.closed && !z.s.Ready() {
			z.call(func() { z.s.Refuse(&z.out) })
		}
	case "!settle":
		if len(z.open) > 0 {
			i := n % len(z.open)
			id := z.open[i]
			z.open = append(z.open[:i], z.open[i+1:]...)
			z.model.settle(id)
			z.call(func() { z.s.Settled(z.now(), id, &z.out) })
		}
	case "!wait":
		z.mono += time.Duration(n%200) * time.Second
		z.call(func() { z.s.Advance(z.now(), &z.out) })
	case "!send":
		if z.s.Ready() {
			added := z.s.NextAdded(z.now(), 1+n%100)
			if added <= z.added {
				z.t.Fatalf("%d after %d", added, z.added)
			}
			z.added = added
		}
	case "!pause", "!resume":
		z.s.Pause(z.now(), event == "!pause")
	default:
		z.receiveText([]byte(line))
	}
	_ = z.s.Deadline()
	z.bounded()
}

func (z *fuzzed) receiveText(text []byte) {
	var m wire.Message
	if z.decoder.Decode(text, &m) != nil {
		return
	}
	if m.Type == wire.MessageConnect && z.connected == 0 && z.s.state == waiting {
		z.added = max(m.Added, 0)
	}
	z.message = m.Added
	z.call(func() { z.s.Receive(z.now(), text, &m, &z.out) })
}

// call runs one call of the session and checks what comes of it.
func (z *fuzzed) call(f func()) {
	z.model.limit = z.cfg.AckLimit
	z.out.Reset()
	f()
	out := &z.out
	if z.closed && (len(out.sent) > 0 || out.Close != CloseNone || out.Auth != nil || len(out.Actions) > 0 || len(out.Replay) > 0) {
		z.t.Fatalf("a closed session goes on: %+v", out)
	}
	z.acknowledged()
	out.Messages(func(kind wire.MessageType, text []byte) {
		if kind == wire.MessageConnected {
			if z.connected++; z.connected > 1 {
				z.t.Fatal("connected twice")
			}
		}
		var m wire.Message
		if err := z.decoder.Decode(text, &m); err != nil || m.Type != kind {
			z.t.Fatalf("%s is sent as a message of type %d: %v", text, kind, err)
		}
	})
	if out.Close != CloseNone {
		z.closed = true
		if len(out.Actions) > 0 || out.Auth != nil {
			z.t.Fatal("there is work to do for a session that closed")
		}
	}
	if len(out.Actions) > 0 {
		s := modelSync{added: z.message, since: z.mono, open: make(map[wire.ActionID]bool)}
		for _, a := range out.Actions {
			if _, _, _, ok := wire.ParseActionID(a.Action.ID); !ok {
				z.t.Fatalf("action ID %q", a.Action.ID)
			}
			if !a.Denied && a.Action.ID.Client() != z.s.Node().Client() {
				z.t.Fatalf("%q is not of %q and not denied", a.Action.ID, z.s.Node())
			}
			s.open[a.Action.ID] = true
			z.open = append(z.open, a.Action.ID)
		}
		z.model.syncs = append(z.model.syncs, s)
	}
	for _, text := range out.Replay {
		z.receiveText(text)
	}
}

// acknowledged checks that no synced passes an action without an outcome.
func (z *fuzzed) acknowledged() {
	got := fmt.Sprint(syncedNumbers(z.t, &z.out))
	if len(z.out.Acknowledged) == 0 {
		return
	}
	if want := fmt.Sprint(z.model.take(z.mono)); got != want {
		z.t.Fatalf("acknowledged %s, want %s", got, want)
	}
}

// bounded checks what a client can make a session hold.
func (z *fuzzed) bounded() {
	s := &z.s
	size := 0
	if s.pre != nil {
		for _, text := range s.pre.kept {
			size += len(text)
		}
	}
	if size > z.cfg.MaxPreAuth || len(s.headers) > z.cfg.MaxHeaders {
		z.t.Fatalf("%d bytes kept, %d of headers", size, len(s.headers))
	}
	if s.state == ready && s.pre != nil {
		z.t.Fatal("what was kept before the authentication is still held")
	}
}
