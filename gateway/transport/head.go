package transport

import (
	"bytes"
	"encoding/base64"
)

// A head is what a request's head says, as far as it matters here. Its slices lie in the bytes that
// were parsed.
type head struct {
	method, target []byte
	minor          byte // HTTP/1.minor
	host           []byte
	upgrade        []byte
	connection     []byte
	key            []byte
	version        []byte
	origin         []byte
	userAgent      []byte
	cookies        [][]byte
	forwardedFor   [][]byte
	length         []byte
	seen           headField
	encoded        bool // Transfer-Encoding
}

// headField is a set of header fields that may come only once.
type headField uint16

const (
	hasHost headField = 1 << iota
	hasUpgrade
	hasConnection
	hasKey
	hasVersion
	hasOrigin
	hasUserAgent
	hasLength
	hasEncoding
)

// A refusal is a request that is answered with an error, and why.
type refusal struct {
	status int
	text   string
}

// What can be wrong with a head. Proxies in front of us and servers behind us may read a malformed
// request differently from us; what is not plainly right is refused (RFC 9112, section 11.2).
var (
	badLine       = &refusal{400, "malformed request line"}
	badVersion    = &refusal{400, "HTTP version not supported"}
	badTarget     = &refusal{400, "request target not in origin form"}
	badLineEnd    = &refusal{400, "line not ended by CR LF"}
	badFold       = &refusal{400, "folded header"}
	badName       = &refusal{400, "malformed header name"}
	badValue      = &refusal{400, "control character in header"}
	badRepeated   = &refusal{400, "header repeated"}
	badBody       = &refusal{400, "conflicting body length"}
	badHost       = &refusal{400, "missing or malformed Host"}
	badProxy      = &refusal{400, "malformed PROXY header"}
	badConnection = &refusal{400, "Connection does not say upgrade"}
	badMethod     = &refusal{400, "upgrade of another method than GET"}
	badKey        = &refusal{400, "malformed Sec-WebSocket-Key"}
	badNoVersion  = &refusal{400, "missing Sec-WebSocket-Version"}
	badUpgrade    = &refusal{400, "malformed handshake"}
	tooLate       = &refusal{408, "request not complete in time"}
	tooLong       = &refusal{431, "request head too long"}
	notWebSocket  = &refusal{426, "only an upgrade to websocket is possible"}
	notVersion13  = &refusal{426, "only version 13 is spoken"}
	badOrigin     = &refusal{403, "origin not allowed"}
	tooBusy       = &refusal{503, "too many connections"}
)

// headEnd looks for the empty line that ends a head, from byte from on, what was before having been searched. It
// returns the length of the head, or 0 when the end has not arrived. Lines that end in a bare LF are
// found here, since such a head might never end.
func headEnd(data []byte, from int) (int, *refusal) {
	for i := from; ; i++ {
		lf := bytes.IndexByte(data[i:], '\n')
		if lf < 0 {
			return 0, nil
		}
		i += lf
		if i == 0 || data[i-1] != '\r' {
			return 0, badLineEnd
		}
		if i >= 3 && data[i-2] == '\n' {
			return i + 1, nil
		}
	}
}

// parseHead reads a whole head, its empty line included.
func parseHead(p []byte) (h head, r *refusal) {
	line, p := cutLine(p)
	if r := h.requestLine(line); r != nil {
		return h, r
	}
	for {
		line, p = cutLine(p)
		if len(line) == 0 {
			break
		}
		if r := h.field(line); r != nil {
			return h, r
		}
	}
	switch {
	case h.encoded && h.seen&hasLength != 0:
		return h, badBody
	case h.minor == 1 && h.seen&hasHost == 0:
		return h, badHost
	}
	return h, nil
}

// cutLine returns the first line of p, without its end, and the rest.
func cutLine(p []byte) (line, rest []byte) {
	i := bytes.IndexByte(p, '\n')
	return p[:i-1], p[i+1:]
}

// requestLine reads "METHOD /target HTTP/1.1".
func (h *head) requestLine(line []byte) *refusal {
	method, rest, ok := bytes.Cut(line, []byte(" "))
	if !ok || !isToken(method) {
		return badLine
	}
	target, version, ok := bytes.Cut(rest, []byte(" "))
	if !ok || len(target) == 0 {
		return badLine
	}
	for _, b := range target {
		if b <= ' ' || b >= 0x7f {
			return badTarget
		}
	}
	if target[0] != '/' && (string(target) != "*" || string(method) != "OPTIONS") {
		return badTarget
	}
	switch string(version) {
	case "HTTP/1.1":
		h.minor = 1
	case "HTTP/1.0":
	default:
		return badVersion
	}
	h.method, h.target = method, target
	return nil
}

// field reads "Name: value".
func (h *head) field(line []byte) *refusal {
	if line[0] == ' ' || line[0] == '\t' {
		return badFold
	}
	name, value, ok := bytes.Cut(line, []byte(":"))
	// Some gateways take an underscore for a hyphen, so that X_Forwarded_For would be believed.
	if !ok || !isToken(name) || bytes.IndexByte(name, '_') >= 0 {
		return badName
	}
	for _, b := range value {
		if b < ' ' && b != '\t' || b == 0x7f {
			return badValue
		}
	}
	value = bytes.Trim(value, " \t")
	switch len(name) {
	case 4:
		if isName(name, "host") {
			return h.once(hasHost, &h.host, value, isHost(value), badHost)
		}
	case 6:
		switch {
		case isName(name, "origin"):
			return h.once(hasOrigin, &h.origin, value, true, nil)
		case isName(name, "cookie"):
			h.cookies = append(h.cookies, value)
		}
	case 7:
		if isName(name, "upgrade") {
			return h.once(hasUpgrade, &h.upgrade, value, true, nil)
		}
	case 10:
		switch {
		case isName(name, "connection"):
			return h.once(hasConnection, &h.connection, value, true, nil)
		case isName(name, "user-agent"):
			return h.once(hasUserAgent, &h.userAgent, value, true, nil)
		}
	case 14:
		if isName(name, "content-length") {
			return h.once(hasLength, &h.length, value, isDigits(value), badBody)
		}
	case 15:
		if isName(name, "x-forwarded-for") {
			h.forwardedFor = append(h.forwardedFor, value)
		}
	case 17:
		switch {
		case isName(name, "sec-websocket-key"):
			return h.once(hasKey, &h.key, value, true, nil)
		case isName(name, "transfer-encoding"):
			h.encoded = true
			return h.once(hasEncoding, new([]byte), value, isName(value, "chunked"), badBody)
		}
	case 21:
		if isName(name, "sec-websocket-version") {
			return h.once(hasVersion, &h.version, value, true, nil)
		}
	}
	return nil
}

// once stores the value of a field that must not come twice.
func (h *head) once(f headField, dst *[]byte, value []byte, valid bool, otherwise *refusal) *refusal {
	switch {
	case h.seen&f != 0:
		return badRepeated
	case !valid:
		return otherwise
	}
	h.seen |= f
	*dst = value
	return nil
}

// checkUpgrade checks a request that asks for an upgrade against RFC 6455, section 4.2.1.
func (h *head) checkUpgrade() *refusal {
	switch {
	case !isName(h.upgrade, "websocket"):
		return notWebSocket
	case h.minor != 1:
		return badVersion
	case string(h.method) != "GET":
		return badMethod
	case h.encoded, len(bytes.Trim(h.length, "0")) > 0:
		return badBody
	case len(h.host) == 0:
		return badHost
	case !hasListItem(h.connection, "upgrade"):
		return badConnection
	case h.seen&hasVersion == 0:
		return badNoVersion
	case string(h.version) != "13":
		return notVersion13
	case !isKey(h.key):
		return badKey
	}
	return nil
}

// isKey reports whether p is 16 bytes in base64.
func isKey(p []byte) bool {
	var nonce [18]byte
	if len(p) != 24 {
		return false
	}
	n, err := base64.StdEncoding.Decode(nonce[:], p)
	return err == nil && n == 16
}

// isName reports whether p is the name, which is in lower case.
func isName(p []byte, name string) bool {
	if len(p) != len(name) {
		return false
	}
	for i, b := range p {
		if b >= 'A' && b <= 'Z' {
			b |= 0x20
		}
		if b != name[i] {
			return false
		}
	}
	return true
}

// hasListItem reports whether the comma-separated list p contains item, which is in lower case.
func hasListItem(p []byte, item string) bool {
	for len(p) > 0 {
		var one []byte
		one, p, _ = bytes.Cut(p, []byte(","))
		if isName(bytes.Trim(one, " \t"), item) {
			return true
		}
	}
	return false
}

// tokenByte marks the characters of RFC 9110's token.
var tokenByte = func() (t [256]bool) {
	for b := '0'; b <= '9'; b++ {
		t[b] = true
	}
	for b := 'a'; b <= 'z'; b++ {
		t[b], t[b-'a'+'A'] = true, true
	}
	for _, b := range "!#$%&'*+-.^_`|~" {
		t[b] = true
	}
	return t
}()

func isToken(p []byte) bool {
	for _, b := range p {
		if !tokenByte[b] {
			return false
		}
	}
	return len(p) > 0
}

func isDigits(p []byte) bool {
	for _, b := range p {
		if b < '0' || b > '9' {
			return false
		}
	}
	return len(p) > 0 && len(p) <= 18
}

// isHost reports whether p looks like host[:port]: the characters of RFC 3986's authority without user information.
func isHost(p []byte) bool {
	for _, b := range p {
		switch {
		case b >= '0' && b <= '9', b >= 'a' && b <= 'z', b >= 'A' && b <= 'Z':
		case bytes.IndexByte([]byte("-._~!$&'()*+;=:[]%"), b) >= 0:
		default:
			return false
		}
	}
	return true
}
