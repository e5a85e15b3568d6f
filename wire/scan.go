package wire

import (
	"bytes"
	"math"
	"slices"

	"github.com/go-json-experiment/json/jsontext"
)

// A scanner walks over one JSON text and finds the bounds of its values. The tokenizer under it
// refuses duplicate keys (after unescaping), invalid UTF-8 and lone surrogates.
//
// The first thing that is wrong stays in fault; from then on every method returns a zero value and
// more returns false, so that callers look at fault once, at the end. The zero scanner is ready
// for start. It may not be copied.
type scanner struct {
	tokens jsontext.Decoder
	in     bytes.Buffer // the text, not copied
	text   []byte
	fault  string
	// folded says that members met a key that is one of those asked for but for its case.
	folded bool
	// unescaped holds the strings of this text that had to be unescaped. When it grows, those
	// found before stay where they were.
	unescaped []byte
}

// keepUnescaped bounds the memory for unescaped strings that a scanner keeps from one text to the next.
const keepUnescaped = 64 << 10

// start begins a new text. What was returned for the text before is no longer valid.
func (s *scanner) start(text []byte) {
	s.text = text
	s.in = *bytes.NewBuffer(text)
	s.tokens.Reset(&s.in)
	s.fault = ""
	s.folded = false
	if cap(s.unescaped) > keepUnescaped {
		s.unescaped = nil
	}
	s.unescaped = s.unescaped[:0]
}

// maxFault bounds in bytes the text of a fault, which can repeat a key of the text.
const maxFault = 256

// fail notes what is wrong, unless something was before.
func (s *scanner) fail(fault string) {
	if s.fault == "" {
		s.fault = cutText(fault, maxFault)
	}
}

// finish checks that nothing but white space is left.
func (s *scanner) finish() {
	if s.fault == "" && len(bytes.Trim(s.text[s.offset():], " \t\r\n")) > 0 {
		s.fail("something follows the value")
	}
}

// kind looks at the next value without taking it. It is KindInvalid at the end and after a fault.
func (s *scanner) kind() jsontext.Kind {
	if s.fault != "" {
		return jsontext.KindInvalid
	}
	return s.tokens.PeekKind()
}

// enter takes the opening bracket of an array or object, whichever kind says.
func (s *scanner) enter(kind jsontext.Kind) {
	if s.fault != "" {
		return
	}
	token, err := s.tokens.ReadToken()
	switch {
	case err != nil:
		s.fail(err.Error())
	case token.Kind() != kind:
		s.fail("a value has the wrong type")
	}
}

// more reports whether the array or object that was entered has another element or member.
func (s *scanner) more() bool {
	switch s.kind() {
	case jsontext.KindEndArray, jsontext.KindEndObject:
		return false
	case jsontext.KindInvalid:
		if s.fault == "" {
			_, err := s.tokens.ReadToken()
			s.fail(err.Error())
		}
		return false
	}
	return true
}

// leave takes the closing bracket; another element there is a fault.
func (s *scanner) leave() {
	if s.more() {
		s.fail("an array has too many elements")
	}
	if s.fault != "" {
		return
	}
	if _, err := s.tokens.ReadToken(); err != nil {
		s.fail(err.Error())
	}
}

// value takes the next value, of any kind. It aliases the text.
func (s *scanner) value() RawJSON {
	if s.fault != "" {
		return nil
	}
	v, err := s.tokens.ReadValue()
	if err != nil {
		s.fail(err.Error())
		return nil
	}
	return RawJSON(v)
}

// typed takes the next value, which must be of a kind.
func (s *scanner) typed(kind jsontext.Kind) RawJSON {
	v := s.value()
	if s.fault == "" && v.kind() != kind {
		s.fail("a value has the wrong type")
		return nil
	}
	return v
}

// string takes a string, or the name of a member, unescaped.
func (s *scanner) string() []byte {
	v := s.typed(jsontext.KindString)
	if v == nil {
		return nil
	}
	if bytes.IndexByte(v, '\\') < 0 {
		return v[1 : len(v)-1]
	}
	n := len(s.unescaped)
	s.unescaped, _ = jsontext.AppendUnquote(s.unescaped, v) // value has found it to be valid
	return s.unescaped[n:len(s.unescaped):len(s.unescaped)]
}

// integer takes a number that is whole and within ±2^53.
func (s *scanner) integer() int64 {
	v := s.typed(jsontext.KindNumber)
	if v == nil {
		return 0
	}
	n, whole, ok := parseNumber(v)
	if !ok || !whole {
		s.fail("a number is no integer within ±2^53")
		return 0
	}
	return n
}

// floor takes a number within ±2^53 and rounds it down.
func (s *scanner) floor() int64 {
	v := s.typed(jsontext.KindNumber)
	if v == nil {
		return 0
	}
	n, _, ok := parseNumber(v)
	if !ok {
		s.fail("a number is not within ±2^53")
		return 0
	}
	return n
}

// nodeID takes a string that can be a node ID.
func (s *scanner) nodeID() []byte {
	id := s.string()
	if s.fault == "" && !validNodeID(id) {
		s.fail("a node ID is empty, too long, or holds spaces or control characters")
		return nil
	}
	return id
}

// maxSubprotocol bounds a subprotocol in bytes of JSON: one is kept for every connection.
const maxSubprotocol = 256

// subprotocol takes a string or a number.
func (s *scanner) subprotocol() RawJSON {
	v := s.value()
	if s.fault == "" && !v.isSubprotocol() {
		s.fail("a subprotocol is neither string nor number, or too long")
		return nil
	}
	return v
}

// offset is where the last token ended.
func (s *scanner) offset() int { return int(s.tokens.InputOffset()) }

// members reads a whole text that is one object, and stores the values of the members named in
// keys at their places in values, as they stand in the text; the others it only checks.
func (s *scanner) members(text []byte, keys []string, values []RawJSON) {
	s.start(text)
	s.enter(jsontext.KindBeginObject)
	for s.more() {
		name := s.string()
		i := slices.Index(keys, string(name))
		if i < 0 && slices.ContainsFunc(keys, func(key string) bool { return bytes.EqualFold(name, []byte(key)) }) {
			s.folded = true
		}
		if v := s.value(); i >= 0 {
			values[i] = v
		}
	}
	s.leave()
	s.finish()
}

// elements reads a whole text that is one array, and appends its elements to dst as they stand
// in the text.
func (s *scanner) elements(text []byte, dst []RawJSON) []RawJSON {
	s.start(text)
	s.enter(jsontext.KindBeginArray)
	for s.more() {
		dst = append(dst, s.value())
	}
	s.leave()
	s.finish()
	return dst
}

// kind is the kind of a valid JSON value; KindInvalid for nil.
func (v RawJSON) kind() jsontext.Kind { return jsontext.Value(v).Kind() }

// text is the value of a JSON string; ok is false for every other value, and for nil.
func (v RawJSON) text() (text string, ok bool) {
	if v.kind() != jsontext.KindString {
		return "", false
	}
	if bytes.IndexByte(v, '\\') < 0 {
		return string(v[1 : len(v)-1]), true
	}
	b, err := jsontext.AppendUnquote(nil, []byte(v))
	return string(b), err == nil
}

// isSubprotocol reports whether v is a string or a number, and not too long.
func (v RawJSON) isSubprotocol() bool {
	kind := v.kind()
	return (kind == jsontext.KindString || kind == jsontext.KindNumber) && len(v) <= maxSubprotocol
}

// defaultDepth bounds the nesting of JSON where nobody said otherwise.
const defaultDepth = 64

// tooDeep reports whether arrays and objects are nested deeper than limit (0: defaultDepth). It
// runs before the tokenizer, whose recursion it bounds, and knows only strings and brackets: what
// it makes of a text that is not JSON does not matter.
func tooDeep(text []byte, limit int) bool {
	if limit <= 0 {
		limit = defaultDepth
	}
	if bytes.Count(text, []byte("["))+bytes.Count(text, []byte("{")) <= limit {
		return false
	}
	n := nesting{limit: limit}
	for _, c := range text {
		if n.step(c); n.depth > limit {
			return true
		}
	}
	return false
}

// nesting follows the brackets of a JSON text byte by byte.
type nesting struct {
	limit             int
	depth             int
	inString, escaped bool
}

func (n *nesting) step(c byte) {
	switch {
	case n.escaped:
		n.escaped = false
	case n.inString:
		n.escaped = c == '\\'
		n.inString = c != '"'
	case c == '"':
		n.inString = true
	case c == '[' || c == '{':
		n.depth++
	case c == ']' || c == '}':
		n.depth--
	}
}

// clampInt32 keeps a version number small enough for every int.
func clampInt32(n int64) int { return int(min(max(n, math.MinInt32), math.MaxInt32)) }
