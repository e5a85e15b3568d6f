package wire

import (
	"bytes"

	"github.com/go-json-experiment/json/jsontext"
)

// maxDigits bounds an integer in digits. Python reads no longer one, and the whole request would fail with it.
const maxDigits = 4300

// unportable finds what is JSON but cannot be read by every language that a back-end is written in, so that one client's action would fail the
// request it shares with others; "" is nothing. The text must be valid. It looks twice only where something may be wrong.
func (s *scanner) unportable(text []byte) string {
	if !bytes.Contains(text, []byte(`\u0000`)) && !longDigits(text) {
		return ""
	}
	s.in = *bytes.NewBuffer(text)
	s.tokens.Reset(&s.in)
	for {
		switch s.tokens.PeekKind() {
		case jsontext.KindInvalid: // the end
			return ""
		case jsontext.KindNumber:
			v, _ := s.tokens.ReadValue()
			if len(bytes.TrimPrefix(v, []byte("-"))) > maxDigits && !bytes.ContainsAny(v, ".eE") {
				return "an integer has more than 4300 digits"
			}
		case jsontext.KindString:
			v, _ := s.tokens.ReadValue()
			kind, length := s.tokens.StackIndex(s.tokens.StackDepth())
			// PHP has no such property: it keeps the names that begin so to itself.
			if kind == jsontext.KindBeginObject && length%2 == 1 && bytes.HasPrefix(v, []byte(`"\u0000`)) {
				return "a key begins with U+0000"
			}
		default:
			_, _ = s.tokens.ReadToken()
		}
	}
}

// longDigits reports whether there are more than maxDigits digits in a row. One of them is then at a multiple of maxDigits.
func longDigits(text []byte) bool {
	for i := 0; i < len(text); i += maxDigits {
		start, end := i, i
		for end < len(text) && isDigit(text[end]) {
			end++
		}
		for end > i && start > 0 && isDigit(text[start-1]) {
			start--
		}
		if end-start > maxDigits {
			return true
		}
	}
	return false
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }
