package wire

import (
	"bytes"
	"encoding/hex"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"

func TestTraceparent(t *testing.T) {
	zeros := strings.Repeat("0", 32)
	for text, want := range map[string]struct{ sampled, ok bool }{
		traceparent:                                              {true, true},
		traceparent[:traceFlagsAt] + "00":                        {false, true},
		traceparent[:traceFlagsAt] + "03":                        {true, true}, // "MUST set the bits that are not known to 0": a receiver ignores them
		traceparent[:traceFlagsAt] + "fe":                        {false, true},
		"01" + traceparent[2:]:                                   {true, true},
		"cc" + traceparent[2:] + "-what-the-future-will-be-like": {true, true},
		"": {}, "00": {}, "nonsense": {},
		"ff" + traceparent[2:]:                    {},
		traceparent + "-01":                       {}, // version 00 has no more
		"01" + traceparent[2:] + ".more":          {},
		" " + traceparent:                         {},
		strings.ToUpper(traceparent):              {},
		traceparent[:54]:                          {},
		traceparent[:54] + "g":                    {},
		"00-" + zeros + traceparent[35:]:          {},
		traceparent[:36] + zeros[:16] + "-01":     {},
		strings.ReplaceAll(traceparent, "-", "_"): {},
	} {
		got, sampled, ok := ParseTraceparent(text)
		if sampled != want.sampled || ok != want.ok {
			t.Errorf("%q: sampled %v, ok %v", text, sampled, ok)
		}
		if ok && got.Traceparent() != traceparent {
			t.Errorf("%q became %q", text, got.Traceparent())
		}
		if !ok && got != (Trace{}) {
			t.Errorf("%q left %x", text, got)
		}
	}
}

func FuzzTraceparent(f *testing.F) {
	f.Add(traceparent)
	f.Add("01" + traceparent[2:] + "-more")
	f.Fuzz(func(t *testing.T, text string) {
		got, _, ok := ParseTraceparent(text)
		if !ok {
			return
		}
		again, sampled, ok := ParseTraceparent(got.Traceparent())
		if !ok || !sampled || again != got || !strings.HasPrefix(text[3:], got.Traceparent()[3:traceFlagsAt]) {
			t.Errorf("%q became %q", text, got.Traceparent())
		}
	})
}

func tracedEnvelope(t *testing.T) *Envelope {
	t.Helper()
	trace, _, ok := ParseTraceparent(traceparent)
	if !ok {
		t.Fatal("the example cannot be read")
	}
	e := fullEnvelope()
	e.Trace = &trace
	return e
}

// What is traced is an envelope of version 1 with one field more, which older releases skip; what is not is as it was.
func TestEnvelopeWithATrace(t *testing.T) {
	want := tracedEnvelope(t)
	data := AppendEnvelope(nil, want)
	got, err := DecodeEnvelope(data)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	const field = "1618" + "0af7651916cd43dd8448eb211c80319c" + "b7ad6b7169203331"
	plain := AppendEnvelope(nil, fullEnvelope())
	if !bytes.HasPrefix(data, plain) || hex.EncodeToString(data[len(plain):]) != field {
		t.Errorf("got %x after what an envelope without has, want %s", data[len(plain):], field)
	}
	buf := make([]byte, 0, 1<<10)
	if n := testing.AllocsPerRun(100, func() { _ = AppendEnvelope(buf, want) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// A trace that cannot be read costs nobody the action.
func TestEnvelopeWithAStrangeTrace(t *testing.T) {
	for name, value := range map[string]string{
		"empty": "", "short": "0123456789", "long": strings.Repeat("x", 25), "no trace": strings.Repeat("\x00", 16) + "spanspan",
		"no span": strings.Repeat("t", 16) + strings.Repeat("\x00", 8), "huge": strings.Repeat("x", 1<<16),
	} {
		got, err := DecodeEnvelope(appendField(AppendEnvelope(nil, fullEnvelope()), fieldTrace, value))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if diff := cmp.Diff(fullEnvelope(), got); diff != "" {
			t.Errorf("%s: (-want +got)\n%s", name, diff)
		}
	}
}
