package wire

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

// PROTOCOL section 2: "`time` is ms relative to base time", and so is the first number of an ID.
func TestNewAction(t *testing.T) {
	const base = 1560954012838
	for _, test := range []struct {
		pair string
		want Action
	}{
		{`{"type":"a"},{"id":0,"time":-1}`, Action{ID: "1560954012838 38:a:b 0", Time: base - 1, Type: "a", Body: RawJSON(`{"type":"a"}`)}},
		{`{ "\u0074ype":"\u0061" },{"id":[-838,7],"time":0,"subprotocol":10}`, Action{ID: "1560954012000 38:a:b 7", Time: base, Type: "a", Subprotocol: RawJSON(`10`), Body: RawJSON(`{ "\u0074ype":"\u0061" }`)}},
		{`{"type":""},{"id":[-9007199254740992,9007199254740992],"time":0}`, Action{ID: "-9005638300728154 38:a:b 9007199254740992", Time: base, Body: RawJSON(`{"type":""}`)}},
	} {
		text := []byte(`["sync",1,` + test.pair + `]`)
		var d Decoder
		var m Message
		if err := d.Decode(text, &m); err != nil {
			t.Fatal(err)
		}
		got := NewAction(&m.Pairs[0], "38:a:b", base, m.Pairs[0].Subprotocol)
		// The text and the decoder's memory are used again; the action owns its own.
		clear(text)
		clear(d.scan.unescaped)
		if diff := cmp.Diff(&test.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", test.pair, diff)
		}
		if _, _, _, ok := ParseActionID(got.ID); !ok {
			t.Errorf("ID %q cannot be sent to anybody", got.ID)
		}
		// Growing one part must not reach into the next.
		_ = append(got.Body, "overwritten"...)
		_ = append(got.Subprotocol, "overwritten"...)
		if diff := cmp.Diff(&test.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", test.pair, diff)
		}
	}
}

func TestNewActionAllocatesTwice(t *testing.T) {
	p := &Pair{Body: RawJSON(`{"type":"a"}`), ActionType: []byte("a"), IDTime: 1, Time: 1}
	subprotocol := RawJSON(`"1.0.0"`)
	if n := testing.AllocsPerRun(100, func() { NewAction(p, "38:a:b", 1560954012838, subprotocol) }); n != 2 {
		t.Errorf("%v allocations", n)
	}
}
