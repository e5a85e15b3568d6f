package wire

import (
	"strconv"

	"github.com/go-json-experiment/json/jsontext"
)

// The Append functions write one message to dst and return the longer slice; they allocate
// nothing when dst has room.

// AppendConnected writes ["connected", protocol, server, [start, end], {subprotocol}?].
func AppendConnected(dst []byte, protocol int, server NodeID, start, end int64, subprotocol RawJSON) []byte {
	dst = append(dst, `["connected",`...)
	dst = strconv.AppendInt(dst, int64(protocol), 10)
	dst = append(dst, ',')
	dst = appendString(dst, server)
	dst = append(dst, ",["...)
	dst = strconv.AppendInt(dst, start, 10)
	dst = append(dst, ',')
	dst = strconv.AppendInt(dst, end, 10)
	dst = append(dst, ']')
	if len(subprotocol) > 0 {
		dst = append(dst, `,{"subprotocol":`...)
		dst = append(dst, subprotocol...)
		dst = append(dst, '}')
	}
	return append(dst, ']')
}

// AppendPing writes ["ping", added].
func AppendPing(dst []byte, added int64) []byte { return appendAdded(dst, `["ping",`, added) }

// AppendPong writes ["pong", added].
func AppendPong(dst []byte, added int64) []byte { return appendAdded(dst, `["pong",`, added) }

// AppendSynced writes ["synced", added].
func AppendSynced(dst []byte, added int64) []byte { return appendAdded(dst, `["synced",`, added) }

// AppendHeaders writes ["headers", headers].
func AppendHeaders(dst []byte, headers RawJSON) []byte {
	dst = append(dst, `["headers",`...)
	dst = append(dst, headers...)
	return append(dst, ']')
}

// AppendError writes ["error", type, options?].
func AppendError(dst []byte, e *Error) []byte {
	dst = append(dst, `["error",`...)
	dst = appendString(dst, e.Type)
	if len(e.Options) > 0 {
		dst = append(dst, ',')
		dst = append(dst, e.Options...)
	}
	return append(dst, ']')
}

// AppendDebug writes ["debug", "error", text].
func AppendDebug(dst []byte, text string) []byte {
	dst = append(dst, `["debug","error",`...)
	dst = appendString(dst, text)
	return append(dst, ']')
}

func appendAdded(dst []byte, head string, added int64) []byte {
	dst = append(dst, head...)
	dst = strconv.AppendInt(dst, added, 10)
	return append(dst, ']')
}

// appendString writes text as a JSON string. What is no UTF-8 becomes U+FFFD.
func appendString[T ~string | ~[]byte](dst []byte, text T) []byte {
	dst, _ = jsontext.AppendQuote(dst, text) // the error only says that something became U+FFFD
	return dst
}

// ProcessedBody is the body of logux/processed for id.
func ProcessedBody(id ActionID) RawJSON {
	b := make([]byte, 0, len(id)+len(`{"type":"logux/processed","id":""}`))
	b = append(b, `{"type":"logux/processed","id":`...)
	b = appendString(b, id)
	return append(b, '}')
}

// UndoBody is the body of logux/undo for an action: {"type","id","reason","action"}.
func UndoBody(id ActionID, reason Reason, original RawJSON) RawJSON {
	const frame = `{"type":"logux/undo","id":"","reason":"","action":}`
	b := make([]byte, 0, len(frame)+len(id)+len(reason)+len(original))
	b = append(b, `{"type":"logux/undo","id":`...)
	b = appendString(b, id)
	b = append(b, `,"reason":`...)
	b = appendString(b, reason)
	b = append(b, `,"action":`...)
	b = append(b, original...)
	return append(b, '}')
}
