package wire

import (
	"maps"
	"slices"
	"strconv"
	"unicode/utf8"
)

// AppendCommandsStart writes the head of a request up to the opening bracket of "commands"
// (PROTOCOL section 5); then come AppendAuth and AppendCommand, comma-separated by
// AppendCommandsNext, and AppendCommandsEnd. Version 2 gets the secret as "password" too.
func AppendCommandsStart(dst []byte, version int, secret string) []byte {
	dst = append(dst, `{"version":`...)
	dst = strconv.AppendInt(dst, int64(version), 10)
	if version == 2 {
		dst = append(dst, `,"password":`...)
		dst = appendString(dst, secret)
	}
	dst = append(dst, `,"secret":`...)
	dst = appendString(dst, secret)
	return append(dst, `,"commands":[`...)
}

// AppendCommandsNext writes the comma between two commands.
func AppendCommandsNext(dst []byte) []byte { return append(dst, ',') }

// AppendCommandsEnd closes the request.
func AppendCommandsEnd(dst []byte) []byte { return append(dst, "]}"...) }

// AppendAuth writes one auth command in the form of version. A user ID or token that the client
// does not have is left out of an object and null in an array, as JSON.stringify of the reference
// did with undefined.
func AppendAuth(dst []byte, version int, a *Auth) []byte {
	user := a.NodeID.User()
	if version < 4 {
		dst = append(dst, `["auth",`...)
		dst = appendStringOrNull(dst, string(user), user != "")
		dst = append(dst, ',')
		dst = appendStringOrNull(dst, a.Token, a.HasToken)
		dst = append(dst, ',')
		dst = appendString(dst, a.AuthID)
		return append(dst, ']')
	}
	dst = append(dst, `{"command":"auth","authId":`...)
	dst = appendString(dst, a.AuthID)
	if user != "" {
		dst = append(dst, `,"userId":`...)
		dst = appendString(dst, user)
	}
	if a.HasToken {
		dst = append(dst, `,"token":`...)
		dst = appendString(dst, a.Token)
	}
	if len(a.Subprotocol) > 0 {
		dst = append(dst, `,"subprotocol":`...)
		dst = append(dst, a.Subprotocol...)
	}
	dst = append(dst, `,"cookie":`...)
	dst = appendCookies(dst, a.Cookies)
	dst = appendCommandHeaders(dst, a.Headers)
	return append(dst, '}')
}

// AppendCommand writes one action command in the form of version. Action bodies go through
// byte for byte.
func AppendCommand(dst []byte, version int, c *Command) []byte {
	if version < 4 {
		dst = append(dst, `["action",`...)
		dst = append(dst, c.Action.Body...)
		dst = append(dst, ',')
		dst = appendCommandMeta(dst, c.Action)
		return append(dst, ']')
	}
	dst = append(dst, `{"command":"action","action":`...)
	dst = append(dst, c.Action.Body...)
	dst = append(dst, `,"meta":`...)
	dst = appendCommandMeta(dst, c.Action)
	dst = appendCommandHeaders(dst, c.Headers)
	return append(dst, '}')
}

// appendCommandMeta writes id, time and subprotocol; a subprotocol that nobody knows is left out.
func appendCommandMeta(dst []byte, a *Action) []byte {
	dst = append(dst, `{"id":`...)
	dst = appendString(dst, a.ID)
	dst = append(dst, `,"time":`...)
	dst = strconv.AppendInt(dst, a.Time, 10)
	if len(a.Subprotocol) > 0 {
		dst = append(dst, `,"subprotocol":`...)
		dst = append(dst, a.Subprotocol...)
	}
	return append(dst, '}')
}

func appendCommandHeaders(dst []byte, headers RawJSON) []byte {
	dst = append(dst, `,"headers":`...)
	if len(headers) == 0 {
		return append(dst, "{}"...)
	}
	return append(dst, headers...)
}

// appendCookies writes an object, its keys in order. A name that is no UTF-8 is left out: no
// cookie is called that, and two of them could become one key.
func appendCookies(dst []byte, cookies map[string]string) []byte {
	dst = append(dst, '{')
	next := false
	for _, name := range slices.Sorted(maps.Keys(cookies)) {
		if !utf8.ValidString(name) {
			continue
		}
		if next {
			dst = append(dst, ',')
		}
		next = true
		dst = appendString(dst, name)
		dst = append(dst, ':')
		dst = appendString(dst, cookies[name])
	}
	return append(dst, '}')
}

func appendStringOrNull(dst []byte, text string, present bool) []byte {
	if !present {
		return append(dst, "null"...)
	}
	return appendString(dst, text)
}
