package wire

import (
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// answers reads a whole response.
func answers(t *testing.T, text string, version int) []Answer {
	t.Helper()
	r := NewAnswerReader(strings.NewReader(text), version, AnswerLimits{})
	var all []Answer
	for {
		a, err := r.Next()
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			t.Fatalf("%.200s: %v", text, err)
		}
		all = append(all, a)
	}
}

// PROTOCOL section 5: the answers of version 4, and "Versions": those of 2 and 3. PHP's library
// sends arrays in version 4 as well, so every form is read in every version.
func TestAnswerForms(t *testing.T) {
	const id = "1560954012838 38:Y7bysd:O0ETfc 0"
	act := &Action{Type: "a", Body: RawJSON(`{ "type":"a","n":1.0 }`)}
	full := &Action{Type: "a", Body: act.Body, ID: "1 server:x 0", Time: 5, Subprotocol: RawJSON(`"1.0.0"`)}
	for _, test := range []struct {
		text string
		want Answer
	}{
		{`{"answer":"authenticated","authId":"A","subprotocol":"1.0.0"}`, Answer{Kind: AnswerAuthenticated, ID: "A", Subprotocol: RawJSON(`"1.0.0"`)}},
		{`{"authId":"A","subprotocol":10,"answer":"authenticated"}`, Answer{Kind: AnswerAuthenticated, ID: "A", Subprotocol: RawJSON(`10`)}},
		{`{"answer":"authenticated","authId":"A","subprotocol":null}`, Answer{Kind: AnswerAuthenticated, ID: "A"}},
		{`["authenticated","A"]`, Answer{Kind: AnswerAuthenticated, ID: "A"}},
		{`["authenticated","A","2.0.0"]`, Answer{Kind: AnswerAuthenticated, ID: "A", Subprotocol: RawJSON(`"2.0.0"`)}},
		{`{"answer":"denied","authId":"A","id":"other"}`, Answer{Kind: AnswerDenied, ID: "A"}},
		{`["denied","A"]`, Answer{Kind: AnswerDenied, ID: "A"}},
		{`{"answer":"wrongSubprotocol","authId":"A","supported":"^1.0.0"}`, Answer{Kind: AnswerWrongSubprotocol, ID: "A", Supported: RawJSON(`"^1.0.0"`)}},
		{`["wrongSubprotocol","A",[1, 2]]`, Answer{Kind: AnswerWrongSubprotocol, ID: "A", Supported: RawJSON(`[1, 2]`)}},
		{`{"answer":"error","authId":"A","details":"stack\n"}`, Answer{Kind: AnswerError, ID: "A", Details: "stack\n"}},
		{`{"answer":"error","id":"` + id + `","details":{"a":1}}`, Answer{Kind: AnswerError, ID: id, Details: `{"a":1}`}},
		{`{"answer":"error","id":"` + id + `"}`, Answer{Kind: AnswerError, ID: id}},
		{`{"answer":"error"}`, Answer{Kind: AnswerError}},
		{`["error","` + id + `","stack"]`, Answer{Kind: AnswerError, ID: id, Details: "stack"}},
		{`{"answer":"approved","id":"` + id + `","more":[{}]}`, Answer{Kind: AnswerApproved, ID: id}},
		{`["approved","` + id + `"]`, Answer{Kind: AnswerApproved, ID: id}},
		{`{"\u0061nswer":"\u0061pproved","i\u0064":"\u0031 a 0"}`, Answer{Kind: AnswerApproved, ID: "1 a 0"}},
		{`{"answer":"forbidden","id":"` + id + `"}`, Answer{Kind: AnswerForbidden, ID: id}},
		{`["forbidden","` + id + `"]`, Answer{Kind: AnswerForbidden, ID: id}},
		{`{"answer":"unknownAction","id":"` + id + `"}`, Answer{Kind: AnswerUnknownAction, ID: id}},
		{`["unknownAction","` + id + `"]`, Answer{Kind: AnswerUnknownAction, ID: id}},
		{`{"answer":"unknownChannel","id":"` + id + `"}`, Answer{Kind: AnswerUnknownChannel, ID: id}},
		{`["unknownChannel","` + id + `"]`, Answer{Kind: AnswerUnknownChannel, ID: id}},
		{`{"answer":"processed","id":"` + id + `"}`, Answer{Kind: AnswerProcessed, ID: id}},
		{`["processed","` + id + `"]`, Answer{Kind: AnswerProcessed, ID: id}},
		{`{"answer":"resend","id":"` + id + `"}`, Answer{Kind: AnswerResend, ID: id}},
		{`["resend","` + id + `"]`, Answer{Kind: AnswerResend, ID: id}},
		{`["resend","` + id + `",[]]`, Answer{Kind: AnswerResend, ID: id}},
		// "Resend targets: `channels`, `users`, `clients`, `nodes` (arrays of strings) and the singular forms […];
		// `excludeClients` leaves client IDs out. A user ID given as a number is read as its string."
		{
			`{"answer":"resend","id":"` + id + `","channels":["a","b"],"users":[38,"39"],"clients":["38:a"],"nodes":["38:a:b"],"excludeClients":["38:c"]}`,
			Answer{Kind: AnswerResend, ID: id, Targets: Targets{
				Channels: []string{"a", "b"}, Users: []UserID{"38", "39"}, Clients: []ClientID{"38:a"}, Nodes: []NodeID{"38:a:b"}, ExcludeClients: []ClientID{"38:c"},
			}},
		},
		{
			`["resend","` + id + `",{"channel":"a","user":38,"client":"38:a","node":"38:a:b","excludeClients":"38:c"}]`,
			Answer{Kind: AnswerResend, ID: id, Targets: Targets{
				Channels: []string{"a"}, Users: []UserID{"38"}, Clients: []ClientID{"38:a"}, Nodes: []NodeID{"38:a:b"}, ExcludeClients: []ClientID{"38:c"},
			}},
		},
		{
			`{"answer":"resend","id":"` + id + `","channels":"a","channel":["b"],"users":"38","clients":null,"nodes":[]}`,
			Answer{Kind: AnswerResend, ID: id, Targets: Targets{Channels: []string{"a", "b"}, Users: []UserID{"38"}}},
		},
		// "`action` answers add a server action: its meta takes the same targets, and may carry `id` and `time`".
		{`{"answer":"action","id":"` + id + `","action":{ "type":"a","n":1.0 },"meta":{}}`, Answer{Kind: AnswerAction, ID: id, Action: act}},
		{`{"answer":"action","id":"` + id + `","action":{ "type":"a","n":1.0 },"meta":[]}`, Answer{Kind: AnswerAction, ID: id, Action: act}},
		{`{"answer":"action","id":"` + id + `","action":{ "type":"a","n":1.0 }}`, Answer{Kind: AnswerAction, ID: id, Action: act}},
		{
			`{"answer":"action","id":"` + id + `","action":{ "type":"a","n":1.0 },"meta":{"id":"1 server:x 0","time":"5","subprotocol":"1.0.0","clients":["38:a"],"status":"processed"}}`,
			Answer{Kind: AnswerAction, ID: id, Action: full, Targets: Targets{Clients: []ClientID{"38:a"}}},
		},
		{`["action","` + id + `",{ "type":"a","n":1.0 },{"client":"38:a"}]`, Answer{Kind: AnswerAction, ID: id, Action: act, Targets: Targets{Clients: []ClientID{"38:a"}}}},
		{`["action",{ "type":"a","n":1.0 },{"client":"38:a"}]`, Answer{Kind: AnswerAction, Action: act, Targets: Targets{Clients: []ClientID{"38:a"}}}},
	} {
		for version := MinBackendVersion; version <= MaxBackendVersion; version++ {
			got := answers(t, "["+test.text+"]", version)
			if len(got) != 1 {
				t.Fatalf("%s: %d answers", test.text, len(got))
			}
			got[0].Name = "" // looked at below
			if diff := cmp.Diff(test.want, got[0]); diff != "" {
				t.Errorf("version %d: %s (-want +got):\n%s", version, test.text, diff)
			}
		}
	}
	for name, kind := range answerKinds {
		if kind == AnswerAction {
			continue
		}
		if got := answers(t, `[{"answer":"`+name+`","id":"1","authId":"1"}]`, 4)[0]; got.Kind != kind || got.Name != name {
			t.Errorf("%s: %+v", name, got)
		}
	}
}

// "(version 2: `["error", stack]` as well)"; elsewhere the second element is the ID.
func TestAnswerErrorOfVersion2(t *testing.T) {
	for version, want := range map[int]Answer{
		2: {Kind: AnswerError, Name: "error", Details: "text"},
		3: {Kind: AnswerError, Name: "error", ID: "text"},
		4: {Kind: AnswerError, Name: "error", ID: "text"},
	} {
		if diff := cmp.Diff(want, answers(t, `[["error","text"]]`, version)[0]); diff != "" {
			t.Errorf("version %d (-want +got):\n%s", version, diff)
		}
	}
}

// PROTOCOL section 3, rule 6: "unknown `answer`; an element without a string `answer`". Each such
// element is reported with the command it names, and does not hide the answers beside it.
func TestAnswerUnknown(t *testing.T) {
	const id = "1 38:a 0"
	for _, test := range []struct{ text, id, name string }{
		{`{"answer":"unknown","id":"` + id + `"}`, id, "unknown"},
		{`{"answer":"Processed","id":"` + id + `"}`, id, "Processed"},
		{`{"answer":"constructor","id":"` + id + `"}`, id, "constructor"},
		{`{"answer":"__proto__","authId":"A"}`, "A", "__proto__"},
		{`{"answer":"","id":"` + id + `"}`, id, ""},
		{`["unknown","` + id + `",1,2,3]`, id, "unknown"},
		{`{"answer":"` + strings.Repeat("é", 1000) + `"}`, "", strings.Repeat("é", 64)},

		{`{"id":"` + id + `"}`, id, "malformed"},
		{`{"answer":null,"id":"` + id + `"}`, id, "malformed"},
		{`{"answer":1,"id":"` + id + `"}`, id, "malformed"},
		{`{"answer":["processed"],"id":"` + id + `"}`, id, "malformed"},
		{`{"answer":"processed","id":1}`, "", "malformed processed"},
		{`{"answer":"processed","id":null}`, "", "malformed processed"},
		{`{"answer":"denied","authId":["A"]}`, "", "malformed denied"},
		{`{}`, "", "malformed"}, {`[]`, "", "malformed"}, {`null`, "", "malformed"}, {`1`, "", "malformed"}, {`"processed"`, "", "malformed"}, {`true`, "", "malformed"},
		{`[null,"` + id + `"]`, id, "malformed"}, {`[["processed"],"` + id + `"]`, id, "malformed"}, {`["processed"]`, "", "malformed processed"},
		{`["processed",1]`, "", "malformed processed"}, {`["processed","` + id + `",1,2]`, id, "malformed processed"}, {`["error","` + id + `","a","b"]`, id, "malformed error"},
		{`["action"]`, "", "malformed action"}, {`["action","` + id + `"]`, id, "malformed action"}, {`["action","` + id + `",{"type":"a"},{},1]`, id, "malformed action"},

		{`{"answer":"authenticated","authId":"A","subprotocol":{}}`, "A", "malformed authenticated"},
		{`{"answer":"authenticated","authId":"A","subprotocol":[1]}`, "A", "malformed authenticated"},
		{`{"answer":"resend","id":"` + id + `","channels":1}`, id, "malformed resend"},
		{`{"answer":"resend","id":"` + id + `","channels":[1]}`, id, "malformed resend"},
		{`{"answer":"resend","id":"` + id + `","channels":{"0":"a"}}`, id, "malformed resend"},
		{`{"answer":"resend","id":"` + id + `","users":[true]}`, id, "malformed resend"},
		{`{"answer":"resend","id":"` + id + `","client":{}}`, id, "malformed resend"},
		{`{"answer":"resend","id":"` + id + `","excludeClients":[null]}`, id, "malformed resend"},
		{`["resend","` + id + `","a"]`, id, "malformed resend"},
		{`["resend","` + id + `",["a"]]`, id, "malformed resend"},
		{`["resend","` + id + `",null]`, id, "malformed resend"},
		{`{"answer":"action","id":"` + id + `"}`, id, "malformed action"},
		{`{"answer":"action","id":"` + id + `","action":{},"meta":{}}`, id, "malformed action"},
		{`{"answer":"action","id":"` + id + `","action":{"type":1},"meta":{}}`, id, "malformed action"},
		{`{"answer":"action","id":"` + id + `","action":[],"meta":{}}`, id, "malformed action"},
		{`{"answer":"action","id":"` + id + `","action":{"type":"a"},"meta":[1]}`, id, "malformed action"},
		{`{"answer":"action","id":"` + id + `","action":{"type":"a"},"meta":"a"}`, id, "malformed action"},
		{`{"answer":"action","id":"` + id + `","action":{"type":"a"},"meta":{"id":"1"}}`, id, "malformed action"},
		{`{"answer":"action","id":"` + id + `","action":{"type":"a"},"meta":{"id":1}}`, id, "malformed action"},
		{`{"answer":"action","id":"` + id + `","action":{"type":"a"},"meta":{"time":"now"}}`, id, "malformed action"},
		{`{"answer":"action","id":"` + id + `","action":{"type":"a"},"meta":{"subprotocol":[]}}`, id, "malformed action"},
		{`{"answer":"action","id":"` + id + `","action":{"type":"a"},"meta":{"clients":[1]}}`, id, "malformed action"},

		// One text with two meanings answers nobody.
		{`{"answer":"processed","id":"` + id + `","id":"2 38:b 0"}`, "", "malformed"},
		{`{"answer":"processed","answer":"forbidden","id":"` + id + `"}`, "", "malformed"},
		{`{"answer":"processed","\u0061nswer":"forbidden","id":"` + id + `"}`, "", "malformed"},
		{`{"answer":"action","id":"` + id + `","action":{"type":"a","type":"b"}}`, "", "malformed"},
		{`["action","` + id + `",{"type":"a","x":{"y":1,"y":1}}]`, "", "malformed"},
		{"{\"answer\":\"processed\",\"id\":\"1 38:\xff 0\"}", "", "malformed"},
		{`{"answer":"processed","id":"` + id + `","details":"\ud800"}`, "", "malformed"},
		{`{"answer":"processed","` + strings.Repeat("k", 1<<16) + `":1,"` + strings.Repeat("k", 1<<16) + `":2}`, "", "malformed"},
	} {
		got := answers(t, `[["approved","before"],`+test.text+`,{"answer":"approved","id":"after"}]`, 4)
		if len(got) != 3 || got[0].ID != "before" || got[2].ID != "after" || got[0].Kind != AnswerApproved || got[2].Kind != AnswerApproved {
			t.Fatalf("%.200s: hides its neighbours: %+v", test.text, got)
		}
		name, _, described := strings.Cut(got[1].Name, ": ")
		want := Answer{ID: test.id, Name: test.name}
		if described != strings.HasPrefix(test.name, "malformed") || len(got[1].Name) > 2*maxFault {
			t.Errorf("%.200s: name %q", test.text, got[1].Name)
		}
		got[1].Name = name
		if diff := cmp.Diff(want, got[1]); diff != "" {
			t.Errorf("%.200s (-want +got):\n%s", test.text, diff)
		}
	}
}
