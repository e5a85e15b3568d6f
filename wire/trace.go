package wire

import "encoding/hex"

// A Trace is where something stands in a trace (W3C Trace Context). Only what is sampled has one: a nil *Trace is for
// everything else. It is immutable.
type Trace struct {
	ID   [16]byte // of the trace
	Span [8]byte  // of the step that what has this Trace is a part of
}

// Traceparent is the header that carries a Trace over HTTP.
const Traceparent = "Traceparent"

const (
	traceparentLen  = len("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
	traceFlagsAt    = traceparentLen - 2
	traceFieldBytes = len(Trace{}.ID) + len(Trace{}.Span)
)

// Traceparent is t as the header writes it.
func (t *Trace) Traceparent() string {
	b := make([]byte, 0, traceparentLen)
	b = append(b, "00-"...)
	b = hex.AppendEncode(b, t.ID[:])
	b = append(b, '-')
	b = hex.AppendEncode(b, t.Span[:])
	return string(append(b, "-01"...))
}

// ParseTraceparent reads the header. It is not ok where a receiver has to go on as if there were none. sampled is
// what the sender has decided; without it t is of no further use.
func ParseTraceparent(text string) (t Trace, sampled, ok bool) {
	if len(text) < traceparentLen || text[2] != '-' || text[35] != '-' || text[52] != '-' {
		return Trace{}, false, false
	}
	var version, flags [1]byte
	for _, part := range []struct {
		to   []byte
		from string
	}{{version[:], text[:2]}, {t.ID[:], text[3:35]}, {t.Span[:], text[36:52]}, {flags[:], text[traceFlagsAt:traceparentLen]}} {
		if !lowerHex(part.from) {
			return Trace{}, false, false
		}
		if _, err := hex.Decode(part.to, []byte(part.from)); err != nil {
			return Trace{}, false, false
		}
	}
	// "If a higher version is detected, the implementation SHOULD try to parse it": by what version 00 has, and more
	// after another dash.
	switch {
	case version[0] == 0xff, version[0] == 0 && len(text) > traceparentLen, len(text) > traceparentLen && text[traceparentLen] != '-', !t.valid():
		return Trace{}, false, false
	}
	return t, flags[0]&1 == 1, true
}

func lowerHex(s string) bool {
	for i := range len(s) {
		if c := s[i]; (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}

// valid reports whether neither ID is all zeros, which means none.
func (t *Trace) valid() bool { return t.ID != Trace{}.ID && t.Span != Trace{}.Span }

// appendTraceField writes t as a field of an envelope: the bytes of both IDs.
func appendTraceField(dst []byte, field byte, t *Trace) []byte {
	dst = append(dst, field, byte(traceFieldBytes))
	dst = append(dst, t.ID[:]...)
	return append(dst, t.Span[:]...)
}

// decodeTrace reads what appendTraceField wrote. Anything else is no fault of the envelope: the action goes on untraced.
func decodeTrace(value []byte) *Trace {
	if len(value) != traceFieldBytes {
		return nil
	}
	t := new(Trace)
	copy(t.Span[:], value[copy(t.ID[:], value):])
	if !t.valid() {
		return nil
	}
	return t
}
