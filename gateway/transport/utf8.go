package transport

import "unicode/utf8"

// A textCheck validates UTF-8 that arrives in pieces cut anywhere, and finds the first byte that
// cannot be part of it as soon as it is there (RFC 6455, section 8.1). The zero value is ready.
type textCheck struct {
	tail [utf8.UTFMax]byte // the start of a rune whose rest has not arrived
	n    uint8             // how much of it
}

// write reports whether what was written so far can be the beginning of valid text.
func (t *textCheck) write(p []byte) bool {
	for t.n > 0 && len(p) > 0 {
		t.tail[t.n] = p[0]
		t.n++
		p = p[1:]
		// An encoding that is known to be wrong counts as full.
		if utf8.FullRune(t.tail[:t.n]) {
			if r, size := utf8.DecodeRune(t.tail[:t.n]); r == utf8.RuneError && size == 1 {
				return false
			}
			t.n = 0
		}
	}
	for i := 1; i < utf8.UTFMax && i <= len(p); i++ {
		if b := p[len(p)-i]; utf8.RuneStart(b) {
			if rest := p[len(p)-i:]; !utf8.FullRune(rest) {
				t.n = uint8(copy(t.tail[:], rest))
				p = p[:len(p)-i]
			}
			break
		}
	}
	return utf8.Valid(p)
}

// whole reports whether the text does not end within a rune.
func (t *textCheck) whole() bool { return t.n == 0 }
