// Package wire turns bytes into values and values into bytes, for everything that crosses a
// socket: the Logux WebSocket protocol (versions 3, 4 and 5), the Logux back-end protocol
// (versions 2, 3 and 4) with its control API, and the envelope that servers exchange.
//
// It knows no socket, no clock, no goroutine and no lock. Decoders alias their input; encoders
// append to a slice that the caller owns.
//
// JSON is read by a maintained tokenizer (jsontext) that refuses duplicate keys, invalid UTF-8
// and lone surrogates. An action's body is never re-encoded: the bytes that were looked at are
// the bytes that travel on, so that the proxy and a back-end cannot read two different actions
// from one text.
package wire
