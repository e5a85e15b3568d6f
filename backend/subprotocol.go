package backend

import (
	"bytes"
	"strconv"

	"logux-proxy/wire"
)

// isNumber reports whether a subprotocol is a number, as protocol 5 has it, and not a SemVer string.
func isNumber(s wire.RawJSON) bool {
	return len(s) > 0 && s[0] != '"'
}

// semver turns the number 10 into "10.0.0" and leaves everything else alone: the libraries of Django and Rails read the
// subprotocol as SemVer (PROTOCOL section 5, "Modern clients, older back-ends").
func semver(s wire.RawJSON) wire.RawJSON {
	if !isNumber(s) {
		return s
	}
	f, err := strconv.ParseFloat(string(s), 64)
	if err != nil || f < 0 || f >= 1<<53 {
		return s
	}
	out := append(make(wire.RawJSON, 0, len(s)+6), '"')
	out = strconv.AppendInt(out, int64(f), 10)
	return append(out, `.0.0"`...)
}

// major turns "10.2.0" into 10 and leaves everything else alone.
func major(s wire.RawJSON) wire.RawJSON {
	if len(s) < 3 || s[0] != '"' {
		return s
	}
	digits, _, _ := bytes.Cut(s[1:len(s)-1], []byte("."))
	n, err := strconv.ParseUint(string(digits), 10, 53)
	if err != nil {
		return s
	}
	return strconv.AppendUint(nil, n, 10)
}
