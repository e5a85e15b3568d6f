package wire

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
)

// accepted decodes text and fails the test when it is refused.
func accepted(t *testing.T, text string) Message {
	t.Helper()
	var d Decoder
	var m Message
	if err := d.Decode([]byte(text), &m); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	if m.Size != len(text) {
		t.Errorf("%s: Size %d, want %d", text, m.Size, len(text))
	}
	return m
}

// refused decodes text and fails the test when it is accepted, or not refused with typ.
func refused(t *testing.T, text string, typ ErrorType) {
	t.Helper()
	_ = refusal(t, text, typ)
}

// refusal is refused with the error to look at.
func refusal(t *testing.T, text string, typ ErrorType) *Error {
	t.Helper()
	var d Decoder
	m := Message{Token: []byte("of the message before"), Pairs: make([]Pair, 3)}
	err := d.Decode([]byte(text), &m)
	if err == nil {
		t.Fatalf("accepted: %.200s", text)
	}
	if err.Type != typ {
		t.Fatalf("%.200s: %v, want %s", text, err, typ)
	}
	if !json.Valid(err.Options) {
		t.Fatalf("%.200s: options %s", text, err.Options)
	}
	if diff := cmp.Diff(Message{Size: len(text)}, m, cmp.Transformer("Pairs", func(p []Pair) int { return len(p) })); diff != "" {
		t.Errorf("%.200s: something is left of a refused message (-want +got):\n%s", text, diff)
	}
	return err
}

// PROTOCOL section 2, the table of messages.
func TestDecodeShapes(t *testing.T) {
	for _, test := range []struct {
		text string
		want Message
	}{
		{`["connect",5,"38:Y7bysd:O0ETfc",0]`, Message{Type: MessageConnect, Protocol: 5, NodeID: []byte("38:Y7bysd:O0ETfc")}},
		{
			`["connect",3,"uuid",17,{"subprotocol":"1.0.0","token":"T"}]`,
			Message{Type: MessageConnect, Protocol: 3, NodeID: []byte("uuid"), Added: 17, Subprotocol: RawJSON(`"1.0.0"`), Token: []byte("T"), HasToken: true},
		},
		{
			`["connect",5,"10:a:b",0,{"subprotocol":10,"token":"","other":[{}]}]`,
			Message{Type: MessageConnect, Protocol: 5, NodeID: []byte("10:a:b"), Subprotocol: RawJSON(`10`), Token: []byte{}, HasToken: true},
		},
		{`["connect",5,"1\u0030:\u00e9:b",0,{}]`, Message{Type: MessageConnect, Protocol: 5, NodeID: []byte("10:é:b")}},
		{
			`["connected",5,"server:FnXaqDxY",[1487805099387,1487805100001],{"subprotocol":1}]`,
			Message{Type: MessageConnected, Protocol: 5, NodeID: []byte("server:FnXaqDxY"), Start: 1487805099387, End: 1487805100001, Subprotocol: RawJSON(`1`)},
		},
		{`["connected",4,"server:x",[0,0]]`, Message{Type: MessageConnected, Protocol: 4, NodeID: []byte("server:x")}},
		{`["headers",{"locale":"en", "a":[1.50]}]`, Message{Type: MessageHeaders, Headers: RawJSON(`{"locale":"en", "a":[1.50]}`)}},
		{`["ping",1]`, Message{Type: MessagePing, Added: 1}},
		{`["pong",0]`, Message{Type: MessagePong}},
		{`["synced",12]`, Message{Type: MessageSynced, Added: 12}},
		{` [ "synced" , 1.2e1 ] ` + "\r\n\t", Message{Type: MessageSynced, Added: 12}},
		{`["error","wrong-format"]`, Message{Type: MessageError, ErrorType: []byte("wrong-format")}},
		{`["error","timeout",70000]`, Message{Type: MessageError, ErrorType: []byte("timeout"), ErrorOptions: RawJSON(`70000`)}},
		{`["error","own",{"any":null}]`, Message{Type: MessageError, ErrorType: []byte("own"), ErrorOptions: RawJSON(`{"any":null}`)}},
		{`["debug","error","a\nb"]`, Message{Type: MessageDebug, Debug: []byte("a\nb")}},
		{
			`["sync",1,{"type":"a"},{"id":1,"time":2}]`,
			Message{Type: MessageSync, Added: 1, Pairs: []Pair{{Body: RawJSON(`{"type":"a"}`), ActionType: []byte("a"), IDTime: 1, Time: 2}}},
		},
	} {
		got := accepted(t, test.text)
		test.want.Size = len(test.text)
		if diff := cmp.Diff(test.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", test.text, diff)
		}
	}
}

// "`id` is `[ms - base, nodeId, counter]`, or `[ms - base, counter]` when nodeId is the sender's
// own, or just `ms - base` when the counter is 0 too. All three forms are read […]. Relative numbers can be
// negative."
func TestDecodeMeta(t *testing.T) {
	for _, test := range []struct {
		meta string
		want Pair
	}{
		{`{"id":[-5,"38:Y7bysd:O0ETfc",3],"time":-6}`, Pair{IDTime: -5, IDNode: []byte("38:Y7bysd:O0ETfc"), IDCounter: 3, Time: -6}},
		{`{"id":[5,3],"time":6}`, Pair{IDTime: 5, IDCounter: 3, Time: 6}},
		{`{"id":-5,"time":0}`, Pair{IDTime: -5}},
		{`{"time":1e3,"id":5.0}`, Pair{IDTime: 5, Time: 1000}},
		{`{"id":1,"time":1.999}`, Pair{IDTime: 1, Time: 1}},
		{`{"id":1,"time":-1.001}`, Pair{IDTime: 1, Time: -2}},
		{`{"id":9007199254740992,"time":-9007199254740992}`, Pair{IDTime: 1 << 53, Time: -1 << 53}},
		{`{"id":1,"time":1,"subprotocol":"1.0.0"}`, Pair{IDTime: 1, Time: 1, Subprotocol: RawJSON(`"1.0.0"`)}},
		{`{"id":1,"time":1,"subprotocol":10}`, Pair{IDTime: 1, Time: 1, Subprotocol: RawJSON(`10`)}},
		{`{"\u0069d":1,"t\u0069me":2,"subprotoco\u006c":3}`, Pair{IDTime: 1, Time: 2, Subprotocol: RawJSON(`3`)}},
	} {
		text := `["sync",1,{"type":"a"},` + test.meta + `]`
		got := accepted(t, text)
		test.want.Body, test.want.ActionType = RawJSON(`{"type":"a"}`), []byte("a")
		if diff := cmp.Diff([]Pair{test.want}, got.Pairs); diff != "" {
			t.Errorf("%s (-want +got):\n%s", test.meta, diff)
		}
	}
}

// "A client that sends any other meta key gets its action denied": it is noted, not refused.
func TestDecodeForeignMetaKeys(t *testing.T) {
	for _, key := range []string{"users", "user", "channels", "nodes", "clients", "status", "server", "added", "reasons", "", "ID", "__proto__", "constructor", `\u0075sers`} {
		m := accepted(t, `["sync",1,{"type":"a"},{"id":1,"`+key+`":[],"time":2}]`)
		if !m.Pairs[0].ForeignKey {
			t.Errorf("meta key %q was not noted", key)
		}
		if m.Pairs[0].IDTime != 1 || m.Pairs[0].Time != 2 {
			t.Errorf("meta key %q: the rest of the meta is lost", key)
		}
	}
	if accepted(t, `["sync",1,{"type":"a"},{"id":1,"time":2,"subprotocol":1}]`).Pairs[0].ForeignKey {
		t.Error("an allowed key was noted")
	}
}

// "Pairs in one `sync` are handled in order."
func TestDecodeManyPairs(t *testing.T) {
	var b strings.Builder
	b.WriteString(`["sync",500`)
	for i := range 500 {
		fmt.Fprintf(&b, `,{"n":%d,"type":"t\u003%d"},{"id":[%d,"n\u003%d",%d],"time":%d}`, i, i%10, i, i%10, i, i)
	}
	b.WriteString(`]`)
	m := accepted(t, b.String())
	if len(m.Pairs) != 500 {
		t.Fatalf("%d pairs", len(m.Pairs))
	}
	for i, p := range m.Pairs {
		want := Pair{
			Body:       RawJSON(fmt.Sprintf(`{"n":%d,"type":"t\u003%d"}`, i, i%10)),
			ActionType: fmt.Appendf(nil, "t%d", i%10),
			IDTime:     int64(i), IDNode: fmt.Appendf(nil, "n%d", i%10), IDCounter: int64(i), Time: int64(i),
		}
		if diff := cmp.Diff(want, p); diff != "" {
			t.Fatalf("pair %d (-want +got):\n%s", i, diff)
		}
	}
}

// "The action and meta the proxy looked at are exactly the bytes the back-end gets."
func TestDecodeKeepsBodies(t *testing.T) {
	for _, body := range []string{
		`{"type":"a"}`,
		`{ "b" : 1.0 , "a" : 1e2,"type" : "a" ,"c":[ ] }`,
		`{"type":"a","n":123456789012345678901234567890,"m":-0.0,"e":1E400}`,
		`{"\u0074ype":"a","s":"\u00e9é\/","k\u0031":1,"k2":2}`,
		"{\t\"type\":\n\"a\"\r}",
		`{"type":"a","type2":{"type":1,"x":{"type":[]}}}`,
		`{"__proto__":{"type":"b"},"constructor":null,"type":"a"}`,
	} {
		m := accepted(t, `["sync",1, `+body+` ,{"id":1,"time":1}]`)
		if got := string(m.Pairs[0].Body); got != body {
			t.Errorf("body %s became %s", body, got)
		}
		if got := string(m.Pairs[0].ActionType); got != "a" {
			t.Errorf("body %s has type %q", body, got)
		}
	}
}

// "Types and channels named `constructor` or `__proto__` are ordinary."
func TestDecodeOrdinaryTypes(t *testing.T) {
	for _, name := range []string{"constructor", "__proto__", "toString", "", "logux/undo", "logux/anything", "0/clean", "тип"} {
		m := accepted(t, `["sync",1,{"type":"`+name+`"},{"id":1,"time":1}]`)
		if got := string(m.Pairs[0].ActionType); got != name {
			t.Errorf("type %q became %q", name, got)
		}
	}
}

// "A frame that is not JSON, not an array, or whose arguments have wrong types gets
// `["error","wrong-format", text]`", and section 3: "`null` or an array where an object belongs is
// `wrong-format`."
func TestDecodeWrongFormat(t *testing.T) {
	const meta = `{"id":1,"time":1}`
	for _, text := range []string{
		``, ` `, `x`, `{`, `[`, `[]`, `{}`, `null`, `1`, `"ping"`, `true`, `{"0":"ping","1":1}`,
		`[1]`, `[null]`, `[["ping"],1]`, `[{}]`, `["ping",1`, `["ping",1]]`, `["ping",1],`, `["ping",1] ["ping",1]`, `["ping",1]x`,

		`["ping"]`, `["ping",1,1]`, `["ping","1"]`, `["ping",null]`, `["ping",[1]]`, `["ping",1.5]`, `["ping",01]`, `["ping",-]`, `["ping",1e]`,
		`["ping",9007199254740993]`, `["ping",-9007199254740993]`, `["ping",1e400]`, `["pong"]`, `["pong",true]`, `["synced"]`, `["synced",{}]`,
		`["synced",1,2]`, `["synced",1e-1]`,

		`["connect"]`, `["connect",5]`, `["connect",5,"a"]`, `["connect",5,"a",0,{},0]`, `["connect","5","a",0]`, `["connect",null,"a",0]`,
		`["connect",5.5,"a",0]`, `["connect",1e400,"a",0]`, `["connect",5,1,0]`, `["connect",5,null,0]`, `["connect",5,"",0]`, `["connect",5,"a b",0]`,
		`["connect",5,"a\n",0]`, `["connect",5,"a\u0000",0]`, `["connect",5,"a\u007f",0]`, `["connect",5,"a\u0085",0]`, `["connect",5,"a\u0020b",0]`,
		`["connect",5,"` + strings.Repeat("a", 1025) + `",0]`, `["connect",5,"a","0"]`, `["connect",5,"a",null]`, `["connect",5,"a",0.5]`,
		`["connect",5,"a",0,null]`, `["connect",5,"a",0,[]]`, `["connect",5,"a",0,"x"]`, `["connect",5,"a",0,{"token":1}]`,
		`["connect",5,"a",0,{"token":null}]`, `["connect",5,"a",0,{"token":{}}]`, `["connect",5,"a",0,{"subprotocol":null}]`,
		`["connect",5,"a",0,{"subprotocol":[]}]`, `["connect",5,"a",0,{"subprotocol":true}]`,
		`["connect",5,"a",0,{"subprotocol":"` + strings.Repeat("1", 300) + `"}]`,

		`["connected",5,"a"]`, `["connected",5,"a",0]`, `["connected",5,"a",[]]`, `["connected",5,"a",[1]]`, `["connected",5,"a",[1,2,3]]`,
		`["connected",5,"a",[1,"2"]]`, `["connected",5,"a",{"0":1}]`, `["connected",5,"a",[1,2],[]]`, `["connected",5,"a",[1,2],{},1]`,

		`["headers"]`, `["headers",null]`, `["headers",[]]`, `["headers","a"]`, `["headers",1]`, `["headers",{},{}]`,

		`["error"]`, `["error",1]`, `["error",null]`, `["error","a",1,2]`, `["debug"]`, `["debug","error"]`, `["debug","error",1]`,
		`["debug","other","a"]`, `["debug",1,"a"]`, `["debug","error","a",1]`,

		`["sync"]`, `["sync",1]`, `["sync",null]`, `["sync","1",{"type":"a"},` + meta + `]`, `["sync",1,{"type":"a"}]`,
		`["sync",1,{"type":"a"},` + meta + `,{"type":"a"}]`, `["sync",1.5,{"type":"a"},` + meta + `]`,
		`["sync",1,null,` + meta + `]`, `["sync",1,[],` + meta + `]`, `["sync",1,"a",` + meta + `]`, `["sync",1,{},` + meta + `]`,
		`["sync",1,{"type":1},` + meta + `]`, `["sync",1,{"type":null},` + meta + `]`, `["sync",1,{"Type":"a"},` + meta + `]`,
		`["sync",1,{"a":{"type":"a"}},` + meta + `]`, `["sync",1,{"type":["a"]},` + meta + `]`,
		`["sync",1,{"type":"a"},null]`, `["sync",1,{"type":"a"},[]]`, `["sync",1,{"type":"a"},1]`, `["sync",1,{"type":"a"},{}]`,
		`["sync",1,{"type":"a"},{"id":1}]`, `["sync",1,{"type":"a"},{"time":1}]`, `["sync",1,{"type":"a"},{"id":"1","time":1}]`,
		`["sync",1,{"type":"a"},{"id":1,"time":"1"}]`, `["sync",1,{"type":"a"},{"id":1,"time":null}]`, `["sync",1,{"type":"a"},{"id":null,"time":1}]`,
		`["sync",1,{"type":"a"},{"id":1.5,"time":1}]`, `["sync",1,{"type":"a"},{"id":[1],"time":1}]`, `["sync",1,{"type":"a"},{"id":[],"time":1}]`,
		`["sync",1,{"type":"a"},{"id":[1,"a"],"time":1}]`, `["sync",1,{"type":"a"},{"id":["1",1],"time":1}]`,
		`["sync",1,{"type":"a"},{"id":[1,"a",1,1],"time":1}]`, `["sync",1,{"type":"a"},{"id":[1,1,1],"time":1}]`,
		`["sync",1,{"type":"a"},{"id":[1,"a b",1],"time":1}]`, `["sync",1,{"type":"a"},{"id":[1,"",1],"time":1}]`,
		`["sync",1,{"type":"a"},{"id":[1,"a\u0000",1],"time":1}]`, `["sync",1,{"type":"a"},{"id":[1,null,1],"time":1}]`,
		`["sync",1,{"type":"a"},{"id":[1,"a",0.5],"time":1}]`, `["sync",1,{"type":"a"},{"id":[0.5,"a",0],"time":1}]`,
		`["sync",1,{"type":"a"},{"id":{"0":1},"time":1}]`, `["sync",1,{"type":"a"},{"id":9007199254740993,"time":1}]`,
		`["sync",1,{"type":"a"},{"id":1,"time":1e16}]`, `["sync",1,{"type":"a"},{"id":1,"time":9007199254740992.5}]`,
		`["sync",1,{"type":"a"},{"id":1,"time":1,"subprotocol":null}]`, `["sync",1,{"type":"a"},{"id":1,"time":1,"subprotocol":{}}]`,
		`["sync",1,{"type":"a"},{"id":1,"time":1},{"type":"a"},null]`,
	} {
		refused(t, text, ErrWrongFormat)
	}
}

// "An unknown message type gets `["error","unknown-message", name]`", whatever its arguments are.
func TestDecodeUnknownMessage(t *testing.T) {
	for text, name := range map[string]string{
		`["unknown"]`:                      `"unknown"`,
		`["",{},[],null]`:                  `""`,
		`["Ping",1]`:                       `"Ping"`,
		`["constructor"]`:                  `"constructor"`,
		`["__proto__",1]`:                  `"__proto__"`,
		`["\u0070ing2"]`:                   `"ping2"`,
		`["duilian","a"]`:                  `"duilian"`,
		`["a\"\\\u0000"]`:                  `"a\"\\\u0000"`,
		`["a",{"b":[{"c":1e999}]},"d",-0]`: `"a"`,
	} {
		if err := refusal(t, text, ErrUnknownMessage); string(err.Options) != name {
			t.Errorf("%s: options %s, want %s", text, err.Options, name)
		}
	}
	// It has to be JSON all the same.
	for _, text := range []string{`["unknown"`, `["unknown"]]`, `["unknown",{"a":1,"a":1}]`, `["unknown",]`} {
		refused(t, text, ErrWrongFormat)
	}
}

// "`wrong-format` carries the raw text when it is not JSON, and the re-serialised JSON otherwise."
func TestWrongFormatOptions(t *testing.T) {
	for text, want := range map[string]string{
		`[ "ping" , "\u0031" ]`:  `["ping","1"]`,
		`{"a" : 1.0}`:            `{"a":1}`,
		`null `:                  `null`,
		`hello`:                  `hello`,
		`["ping", `:              `["ping", `,
		`["ping",{"a":1,"a":1}]`: `["ping",{"a":1,"a":1}]`,
		"a\xffb":                 "a\ufffdb",
		``:                       ``,
	} {
		var got string
		if err := json.Unmarshal(refusal(t, text, ErrWrongFormat).Options, &got); err != nil || got != want {
			t.Errorf("%s: option %q, %v; want %q", text, got, err, want)
		}
	}
}

// What is sent back is bounded and stays a JSON string.
func TestErrorOptionsAreBounded(t *testing.T) {
	for _, unit := range []string{"a", "é", "漢", "😀", "\x00", "\xff", "\x80", `"`} {
		for shift := range 5 {
			long := strings.Repeat("x", shift) + strings.Repeat(unit, 3*maxQuoted)
			name, err := json.Marshal([]string{long})
			if err != nil {
				t.Fatal(err)
			}
			for _, e := range []*Error{refusal(t, long, ErrWrongFormat), refusal(t, string(name), ErrUnknownMessage)} {
				var got string
				if err := json.Unmarshal(e.Options, &got); err != nil {
					t.Fatal(err)
				}
				want := strings.ToValidUTF8(long[:maxQuoted-utf8.UTFMax], "")
				if utf8.ValidString(long) && (len(got) > maxQuoted || !strings.HasPrefix(got, want) || !strings.HasPrefix(long, got)) {
					t.Errorf("%q: %d bytes of %d: %.20q…%q", unit, len(got), len(long), got, got[len(got)-8:])
				}
				if len(e.Options) > 6*maxQuoted+2 {
					t.Errorf("%q: %d bytes of options", unit, len(e.Options))
				}
			}
		}
	}
}

// An error is logged; what a peer sent, a token perhaps, is not.
func TestErrorTextHoldsNoOptions(t *testing.T) {
	err := refusal(t, `["connect",5,"10:a:b",null,{"token":"SECRET"}]`, ErrWrongFormat)
	if !strings.Contains(string(err.Options), "SECRET") {
		t.Errorf("options %s do not repeat the message", err.Options)
	}
	if text := err.Error(); strings.Contains(text, "SECRET") || !strings.HasPrefix(text, "wrong-format: ") {
		t.Errorf("error text %q", text)
	}
	if text := (&Error{Type: ErrTimeout, Options: RawJSON(`1`)}).Error(); text != "timeout" {
		t.Errorf("error text %q", text)
	}
}

func TestDecodeProtocolIsClamped(t *testing.T) {
	for text, want := range map[string]int{"5": 5, "0": 0, "-1": -1, "5.0": 5, "9007199254740992": 1<<31 - 1, "-9007199254740992": -1 << 31} {
		if got := accepted(t, `["connect",`+text+`,"a",0]`).Protocol; got != want {
			t.Errorf("protocol %s is %d, want %d", text, got, want)
		}
	}
}

// Strings with escapes stand in the decoder's memory; they must survive its growth, and a
// message must not see those of the message before.
func TestDecodeEscapes(t *testing.T) {
	var d Decoder
	var m Message
	for _, n := range []int{1, 100, 5000, 100_000, 10} {
		long := strings.Repeat("x", n)
		text := fmt.Sprintf(`["sync",1,{"type":"\u0061%s"},{"id":[1,"\u0062",1],"time":1},{"type":"\u0063"},{"id":1,"time":1}]`, long)
		if err := d.Decode([]byte(text), &m); err != nil {
			t.Fatal(err)
		}
		if string(m.Pairs[0].ActionType) != "a"+long || string(m.Pairs[0].IDNode) != "b" || string(m.Pairs[1].ActionType) != "c" {
			t.Fatalf("%d: %.20s %s %s", n, m.Pairs[0].ActionType, m.Pairs[0].IDNode, m.Pairs[1].ActionType)
		}
	}
	if cap(d.scan.unescaped) > keepUnescaped {
		t.Errorf("the decoder keeps %d bytes", cap(d.scan.unescaped))
	}
}

// A decoder that refused a message reads the next one.
func TestDecodeAfterRefusal(t *testing.T) {
	var d Decoder
	var m Message
	for _, text := range []string{`[{"a":[{"b":`, `["ping",{"a":1,"a":2}]`, strings.Repeat("[", 70), `["x",1]`, "\xff"} {
		if d.Decode([]byte(text), &m) == nil {
			t.Fatalf("accepted: %s", text)
		}
		if err := d.Decode([]byte(`[ "sync",1,{"type":"a"},{"id":1,"time":1}]`), &m); err != nil || len(m.Pairs) != 1 {
			t.Fatalf("after %s: %v", text, err)
		}
	}
}
