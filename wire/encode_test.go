package wire

import (
	"encoding/json"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
)

// PROTOCOL section 2, the table of messages, as we write them.
func TestAppendMessages(t *testing.T) {
	for _, test := range []struct {
		got  []byte
		want string
	}{
		{AppendConnected(nil, 5, "server:FnXaqDxY", 1487805099387, 1487805100001, RawJSON(`10`)), `["connected",5,"server:FnXaqDxY",[1487805099387,1487805100001],{"subprotocol":10}]`},
		{AppendConnected(nil, 3, "server:x", 1, 2, RawJSON(`"1.0.0"`)), `["connected",3,"server:x",[1,2],{"subprotocol":"1.0.0"}]`},
		{AppendConnected(nil, 4, `server:"\`, 1, 2, nil), `["connected",4,"server:\"\\",[1,2]]`},
		{AppendPing(nil, 17), `["ping",17]`},
		{AppendPong(nil, -1), `["pong",-1]`},
		{AppendSynced(nil, 1<<53), `["synced",9007199254740992]`},
		{AppendHeaders(nil, RawJSON(`{"env":"development"}`)), `["headers",{"env":"development"}]`},
		{AppendError(nil, &Error{Type: ErrTimeout, Options: RawJSON(`70000`)}), `["error","timeout",70000]`},
		{AppendError(nil, &Error{Type: ErrWrongCredentials, Cause: "not for the peer"}), `["error","wrong-credentials"]`},
		{AppendError(nil, &Error{Type: ErrWrongProtocol, Options: RawJSON(`{"supported":3,"used":2}`)}), `["error","wrong-protocol",{"supported":3,"used":2}]`},
		{AppendDebug(nil, "a\n\"b\"\u2028\xff\x00"), `["debug","error","a\n\"b\"` + "\u2028\ufffd" + `\u0000"]`},
		{AppendPing([]byte("before"), 1), `before["ping",1]`},
		{AppendSyncEnd(AppendSyncStart(nil, 5)), `["sync",5]`},
	} {
		if string(test.got) != test.want {
			t.Errorf("got %s, want %s", test.got, test.want)
		}
	}
}

// "All three forms are read in both directions; we write the shortest."
func TestAppendSyncPair(t *testing.T) {
	const base = 1487805099387
	for _, test := range []struct {
		action Action
		want   string
	}{
		{Action{ID: "1487805099387 server:x 0", Time: base}, `{"id":0,"time":0}`},
		{Action{ID: "1487805099386 server:x 0", Time: base - 5}, `{"id":-1,"time":-5}`},
		{Action{ID: "1487805099388 server:x 2", Time: base + 5}, `{"id":[1,2],"time":5}`},
		{Action{ID: "1487805099388 38:Y7bysd:O0ETfc 0", Time: base, Subprotocol: RawJSON(`"1.0.0"`)}, `{"id":[1,"38:Y7bysd:O0ETfc",0],"time":0,"subprotocol":"1.0.0"}`},
		{Action{ID: "1487805099388 server:xy 0", Time: base, Subprotocol: RawJSON(`10`)}, `{"id":[1,"server:xy",0],"time":0,"subprotocol":10}`},
		{Action{ID: `0 "\é 7`, Time: 0}, `{"id":[-1487805099387,"\"\\é",7],"time":-1487805099387}`},
	} {
		test.action.Body = RawJSON(`{ "type":"a" }`)
		o, err := NewOutgoing(&test.action, "server:x")
		if err != nil {
			t.Errorf("%s: %v", test.action.ID, err)
			continue
		}
		want := `["sync",9,{ "type":"a" },` + test.want + `,{ "type":"a" },` + test.want + `]`
		got := AppendSyncEnd(AppendSyncPair(AppendSyncPair(AppendSyncStart(nil, 9), base, o), base, o))
		if string(got) != want {
			t.Errorf("got %s, want %s", got, want)
		}
		if size, pair := o.Size(), (len(want)-len(`["sync",9]`))/2; size < pair-8 || size > pair+24 {
			t.Errorf("%s: Size %d for %d bytes", test.action.ID, size, pair)
		}
	}
}

func TestNewOutgoingRefuses(t *testing.T) {
	body := RawJSON(`{"type":"a"}`)
	for _, id := range []ActionID{"", "1", "1 a", "a b c", "1 a b", "1 a 1 1", "1  1", " a 1", "01 a 1", "1 a 01", "-0 a 1", "--abc a", "1 a -0", "1.5 a 0", "1e3 a 0", "1 a\n 0"} {
		if _, err := NewOutgoing(&Action{ID: id, Body: body}, "server:x"); err == nil {
			t.Errorf("accepted ID %q", id)
		}
	}
	if _, err := NewOutgoing(&Action{ID: "1 a 0"}, "server:x"); err == nil {
		t.Error("accepted an action without a body")
	}
}

// What we write, we read: an action goes through a sync message unchanged.
func FuzzSyncRoundTrip(f *testing.F) {
	f.Add(int64(1487805099387), "38:Y7bysd:O0ETfc", int64(0), int64(1487805099387), int64(1487805099000), "a")
	f.Add(int64(-5), "server:x", int64(-7), int64(0), int64(1<<52), `"\`+"\u2028")
	f.Fuzz(func(t *testing.T, ms int64, node string, counter, time, base int64, kind string) {
		const most = 1 << 51
		ms, counter, time, base = ms%most, counter%most, time%most, base%most
		if !validNodeID(node) || !utf8.ValidString(node) || !utf8.ValidString(kind) {
			return
		}
		body := RawJSON(`{"type":` + string(appendString(nil, kind)) + `}`)
		a := &Action{ID: FormatActionID(ms, NodeID(node), counter), Time: time, Type: kind, Subprotocol: RawJSON(`10`), Body: body}
		o, err := NewOutgoing(a, "server:x")
		if err != nil {
			t.Fatal(err)
		}
		text := AppendSyncEnd(AppendSyncPair(AppendSyncStart(nil, 1), base, o))
		if !json.Valid(text) {
			t.Fatalf("not JSON: %s", text)
		}
		m := accepted(t, string(text))
		if len(m.Pairs) != 1 {
			t.Fatalf("%d pairs: %s", len(m.Pairs), text)
		}
		p := m.Pairs[0]
		sender := NodeID("server:x")
		if p.IDNode != nil {
			sender = NodeID(p.IDNode)
		}
		got := &Action{ID: FormatActionID(p.IDTime+base, sender, p.IDCounter), Time: p.Time + base, Type: string(p.ActionType), Subprotocol: p.Subprotocol, Body: p.Body}
		if diff := cmp.Diff(a, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", text, diff)
		}
	})
}

// PROTOCOL section 3, rules 5 and 6.
func TestBodies(t *testing.T) {
	if got, want := string(ProcessedBody(`1 "a 0`)), `{"type":"logux/processed","id":"1 \"a 0"}`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	original := RawJSON(`{ "type":"a","n":1.0 }`)
	want := `{"type":"logux/undo","id":"1 38:a 0","reason":"denied","action":{ "type":"a","n":1.0 }}`
	if got := string(UndoBody("1 38:a 0", ReasonDenied, original)); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestEncodeAllocatesNothing(t *testing.T) {
	a := &Action{ID: "1487805099388 38:Y7bysd:O0ETfc 1", Time: 1487805099388, Subprotocol: RawJSON(`"1.0.0"`), Body: RawJSON(`{"type":"posts/add","title":"Hello"}`)}
	o, err := NewOutgoing(a, "server:x")
	if err != nil {
		t.Fatal(err)
	}
	e := &Error{Type: ErrTimeout, Options: RawJSON(`70000`)}
	cmd := &Command{Action: a, Headers: RawJSON(`{"locale":"en"}`)}
	buf := make([]byte, 0, 4096)
	for name, f := range map[string]func(){
		"sync":      func() { AppendSyncEnd(AppendSyncPair(AppendSyncStart(buf, 1), 1487805099000, o)) },
		"connected": func() { AppendConnected(buf, 5, "server:FnXaqDxY", 1, 2, RawJSON(`1`)) },
		"ping":      func() { AppendPing(buf, 1) },
		"pong":      func() { AppendPong(buf, 1) },
		"synced":    func() { AppendSynced(buf, 1) },
		"headers":   func() { AppendHeaders(buf, RawJSON(`{}`)) },
		"error":     func() { AppendError(buf, e) },
		"debug":     func() { AppendDebug(buf, "a\nb") },
		"command":   func() { AppendCommandsEnd(AppendCommand(AppendCommandsStart(buf, 4, "secret"), 4, cmd)) },
	} {
		if n := testing.AllocsPerRun(100, f); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}
