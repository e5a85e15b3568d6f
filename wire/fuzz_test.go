package wire

import (
	"bytes"
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// sameAction fails the test unless the body of a is an object that means the same type to
// encoding/json.
func sameAction(t *testing.T, a *Action) {
	t.Helper()
	var members map[string]json.RawMessage
	if err := json.Unmarshal(a.Body, &members); err != nil {
		t.Fatalf("body %q: %v", a.Body, err)
	}
	var name string
	if err := json.Unmarshal(members["type"], &name); err != nil || name != a.Type {
		t.Fatalf("body %q: type %q, but %q to encoding/json (%v)", a.Body, a.Type, name, err)
	}
}

// FuzzDecode compares with encoding/json: what is accepted is JSON with the same values, and the
// bodies are bytes of the message.
func FuzzDecode(f *testing.F) {
	for _, text := range []string{
		`["ping",1]`, `["synced",-7]`, ` [ "pong" , 1e2 ] `,
		`["connect",5,"38:Y7bysd:O0ETfc",0,{"subprotocol":"1.0.0","token":"\u0061"}]`,
		`["connected",5,"server:x",[1,2],{"subprotocol":1}]`,
		`["sync",2,{"type":"a","b":[1.0,{"c":null}]},{"id":[-1,"38:a:b",2],"time":-1.5,"subprotocol":1},{"\u0074ype":"\ud83d\ude39"},{"id":1,"time":1,"users":[]}]`,
		`["headers",{"a":"b"}]`, `["error","a",1]`, `["debug","error","a"]`, `["unknown",{}]`,
		`{"a":1}`, `["sync",1,{"type":"a","type":"b"},{"id":1,"time":1}]`, "[\"ping\",\xff]", `[[[[`,
	} {
		f.Add([]byte(text))
	}
	var d Decoder
	var m Message
	f.Fuzz(func(t *testing.T, text []byte) {
		before := bytes.Clone(text)
		e := d.Decode(text, &m)
		if !bytes.Equal(text, before) {
			t.Fatal("the text was changed")
		}
		var elements []json.RawMessage
		err := json.Unmarshal(text, &elements)
		if e != nil {
			checkRefusal(t, e, elements, err)
			return
		}
		if err != nil {
			t.Fatalf("accepted, but %v", err)
		}
		var name string
		if err := json.Unmarshal(elements[0], &name); err != nil {
			t.Fatal(err)
		}
		switch m.Type {
		case MessagePing, MessagePong, MessageSynced:
			sameNumber(t, elements[1], m.Added)
		case MessageConnect:
			sameString(t, elements[2], m.NodeID)
			sameNumber(t, elements[3], m.Added)
		case MessageConnected:
			sameString(t, elements[2], m.NodeID)
		case MessageHeaders:
			if !bytes.Equal(elements[1], m.Headers) {
				t.Fatalf("headers %q, want %q", m.Headers, elements[1])
			}
		case MessageError:
			sameString(t, elements[1], m.ErrorType)
		case MessageDebug:
			sameString(t, elements[2], m.Debug)
		case MessageSync:
			sameNumber(t, elements[1], m.Added)
			samePairs(t, elements[2:], m.Pairs)
		default:
			t.Fatalf("accepted as type %d", m.Type)
		}
	})
}

func checkRefusal(t *testing.T, e *Error, elements []json.RawMessage, err error) {
	t.Helper()
	var option string
	if err := json.Unmarshal(e.Options, &option); err != nil {
		t.Fatalf("options %s: %v", e.Options, err)
	}
	if m := AppendError(nil, e); !json.Valid(m) {
		t.Fatalf("error message %s", m)
	}
	switch e.Type {
	case ErrWrongFormat:
	case ErrUnknownMessage:
		var name string
		if err != nil || json.Unmarshal(elements[0], &name) != nil {
			t.Fatalf("unknown-message for what is no message: %v", err)
		}
		if cutText(name, maxQuoted) != option {
			t.Fatalf("name %q, want %q", option, name)
		}
	default:
		t.Fatalf("refused with %s", e.Type)
	}
}

func sameNumber(t *testing.T, raw json.RawMessage, got int64) {
	t.Helper()
	var want float64
	if err := json.Unmarshal(raw, &want); err != nil || want != float64(got) {
		t.Fatalf("number %d, but %s to encoding/json (%v)", got, raw, err)
	}
}

func sameString(t *testing.T, raw json.RawMessage, got []byte) {
	t.Helper()
	var want string
	if err := json.Unmarshal(raw, &want); err != nil || want != string(got) {
		t.Fatalf("string %q, but %s to encoding/json (%v)", got, raw, err)
	}
}

func samePairs(t *testing.T, elements []json.RawMessage, pairs []Pair) {
	t.Helper()
	if len(elements) != 2*len(pairs) || len(pairs) == 0 {
		t.Fatalf("%d pairs of %d elements", len(pairs), len(elements))
	}
	for i := range pairs {
		p := &pairs[i]
		if !bytes.Equal(elements[2*i], p.Body) {
			t.Fatalf("body %q, want %q", p.Body, elements[2*i])
		}
		sameAction(t, &Action{Type: string(p.ActionType), Body: p.Body})
		var meta map[string]json.RawMessage
		if err := json.Unmarshal(elements[2*i+1], &meta); err != nil {
			t.Fatal(err)
		}
		known := 2
		if raw, ok := meta["subprotocol"]; ok {
			known++
			if !bytes.Equal(raw, p.Subprotocol) {
				t.Fatalf("subprotocol %q, want %q", p.Subprotocol, raw)
			}
		}
		if p.ForeignKey != (len(meta) > known) {
			t.Fatalf("foreign key %v in %s", p.ForeignKey, elements[2*i+1])
		}
		var id []json.RawMessage
		if json.Unmarshal(meta["id"], &id) != nil {
			id = []json.RawMessage{meta["id"], json.RawMessage("0")}
		}
		sameNumber(t, id[0], p.IDTime)
		sameNumber(t, id[len(id)-1], p.IDCounter)
		if (p.IDNode != nil) != (len(id) == 3) {
			t.Fatalf("node %q of id %s", p.IDNode, meta["id"])
		}
		if len(id) == 3 {
			sameString(t, id[1], p.IDNode)
		}
	}
}

// FuzzTiny: the short way through Decode takes nothing that the long way reads otherwise.
func FuzzTiny(f *testing.F) {
	for _, text := range []string{
		`["ping",1]`, `["pong",-1]`, `["synced",0]`, `["synced",-0]`, `["ping",01]`, `["ping",]`, `["ping",1,2]`, `["ping",123456789012345]`, `["ping",1234567890123456]`, `["ping",9007199254740993]`,
		`["sync",1]`, `["ping",1] `, `["ping", 1]`, `["ping",-]`, `["ping",1.0]`, `["ping",1]]`,
	} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		var short, long Message
		if !decodeTiny(text, &short) {
			if short.Type != MessageUnknown {
				t.Fatalf("left behind: %+v", short)
			}
			return
		}
		var d Decoder
		if err := d.decode(text, &long); err != nil {
			t.Fatalf("accepted, but: %v", err)
		}
		if diff := cmp.Diff(long, short); diff != "" {
			t.Fatalf("(-long +short):\n%s", diff)
		}
	})
}
