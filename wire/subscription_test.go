package wire

import (
	"encoding/json"
	"reflect"
	"testing"
)

// PROTOCOL section 4: "A channel is any string; `__proto__` and friends are ordinary strings for
// us." "The empty string is a channel." "No filter, `null` and `{}` are the same filter."
func TestParseSubscription(t *testing.T) {
	for body, want := range map[string]Subscription{
		`{"type":"logux/subscribe","channel":"posts"}`:                                    {Channel: "posts"},
		`{"type":"logux/subscribe","channel":""}`:                                         {},
		`{"channel":"__proto__","filter":null}`:                                           {Channel: "__proto__"},
		`{"channel":"constructor","filter":{ }}`:                                          {Channel: "constructor"},
		`{"ch\u0061nnel":"\u0070osts\/*","f\u0069lter":{"\u0061":1}}`:                     {Channel: "posts/*", Filter: `{"a":1}`},
		`{"channel":"a","filter":{"b":1.0,"a":[ 1e2,"\u0061" ]}}`:                         {Channel: "a", Filter: `{"a":[100,"a"],"b":1}`},
		`{"channel":"a","filter":{"a":[100,"a"],"b":1}}`:                                  {Channel: "a", Filter: `{"a":[100,"a"],"b":1}`},
		`{"channel":"a","filter":{"a":{}}}`:                                               {Channel: "a", Filter: `{"a":{}}`},
		`{"channel":"a","filter":{"a":null}}`:                                             {Channel: "a", Filter: `{"a":null}`},
		`{"channel":"a","since":{"id":"1 38:a 0","time":1}}`:                              {Channel: "a"},
		`{"channel":"a","since":{"id":"1 38:a 0"}}`:                                       {Channel: "a"},
		`{"channel":"a","since":{"time":1.5}}`:                                            {Channel: "a"},
		`{"channel":"a","since":{}}`:                                                      {Channel: "a"},
		`{"channel":"a","since":null,"custom":[1]}`:                                       {Channel: "a"},
		`{"channel":"a","filter":{"id":"1"},"type":"logux/unsubscribe","creating":false}`: {Channel: "a", Filter: `{"id":"1"}`},
	} {
		got, ok, err := ParseSubscription(RawJSON(body))
		if !ok || err != nil || got != want {
			t.Errorf("%s: %+v %v %v, want %+v", body, got, ok, err, want)
		}
	}
}

// PROTOCOL section 3, rule 6: "subscribe or unsubscribe without a string `channel`".
func TestParseSubscriptionWrongChannel(t *testing.T) {
	for _, body := range []string{
		`{"type":"logux/subscribe"}`, `{"channel":null}`, `{"channel":1}`, `{"channel":["a"]}`, `{"channel":{}}`, `{"channel":true}`,
		`{"Channel":"a"}`, `{"channel":{"channel":"a"},"filter":{"a":1},"since":{"id":"1"}}`,
	} {
		got, ok, err := ParseSubscription(RawJSON(body))
		if ok || err != nil || got != (Subscription{}) {
			t.Errorf("%s: %+v %v %v", body, got, ok, err)
		}
	}
}

// Back-ends choke on these: one would fail a whole batch.
func TestParseSubscriptionWrongFormat(t *testing.T) {
	for _, body := range []string{
		`{"channel":"a","filter":[]}`, `{"channel":"a","filter":"a"}`, `{"channel":"a","filter":1}`, `{"channel":"a","filter":false}`,
		`{"channel":"a","since":[]}`, `{"channel":"a","since":"1 a 0"}`, `{"channel":"a","since":1}`, `{"channel":"a","since":true}`,
		`{"channel":"a","since":{"id":1}}`, `{"channel":"a","since":{"id":null}}`, `{"channel":"a","since":{"time":"1"}}`,
		`{"channel":"a","since":{"id":"1 a 0","time":null}}`, `{"channel":"a","since":{"time":[]}}`,
		`{"channel":"a","Channel":"b"}`, `{"FILTER":{},"channel":"a"}`, `{"channel":"a","\u0053ince":null}`, `{"channel":"a","since":{"id":"1 a 0","Id":"2 a 0"}}`,
		`{"channel":1,"filter":[]}`, `{"since":0}`, `[]`, `null`, `"a"`,
	} {
		got, ok, err := ParseSubscription(RawJSON(body))
		if ok || err == nil || err.Type != ErrWrongFormat || got != (Subscription{}) {
			t.Errorf("%s: %+v %v %v", body, got, ok, err)
		}
	}
}

// FuzzSubscription: what is accepted means the same to encoding/json, and filters are equal
// strings when they are equal values.
func FuzzSubscription(f *testing.F) {
	for _, body := range []string{
		`{"type":"logux/subscribe","channel":"a","filter":{"b":[1,{"c":null}],"a":1e2},"since":{"id":"1 a 0","time":1}}`,
		`{"channel":1}`, `{"channel":"a","filter":null}`, `{"channel":"\ud83d\ude39","filter":{"\u0000":-0.0}}`,
	} {
		f.Add([]byte(body))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		if tooDeep(body, 0) {
			return // a body has been through a Decoder
		}
		s, ok, e := ParseSubscription(body)
		if e != nil {
			if ok || !json.Valid(e.Options) {
				t.Fatalf("ok %v, options %s", ok, e.Options)
			}
			return
		}
		var want struct {
			members map[string]json.RawMessage
			channel *string
			filter  map[string]any
		}
		if err := json.Unmarshal(body, &want.members); err != nil {
			t.Fatalf("accepted, but %v", err)
		}
		if err := json.Unmarshal(want.members["channel"], &want.channel); ok != (err == nil && want.channel != nil) {
			t.Fatalf("ok %v, but channel %s", ok, want.members["channel"])
		}
		if !ok {
			return
		}
		if s.Channel != *want.channel {
			t.Fatalf("channel %q, want %q", s.Channel, *want.channel)
		}
		if raw := want.members["filter"]; raw != nil {
			if err := json.Unmarshal(raw, &want.filter); err != nil {
				return // a number that no float64 holds
			}
		}
		if (s.Filter == "") != (len(want.filter) == 0) {
			t.Fatalf("filter %q for %v", s.Filter, want.filter)
		}
		if s.Filter == "" {
			return
		}
		var got map[string]any
		if err := json.Unmarshal([]byte(s.Filter), &got); err != nil || !reflect.DeepEqual(got, want.filter) {
			t.Fatalf("filter %q means %v, want %v", s.Filter, got, want.filter)
		}
		again, ok, e := ParseSubscription(RawJSON(`{"channel":"a","filter":` + s.Filter + `}`))
		if !ok || e != nil || again.Filter != s.Filter {
			t.Fatalf("filter %q became %q", s.Filter, again.Filter)
		}
	})
}
