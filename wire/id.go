package wire

import (
	"cmp"
	"strconv"
	"strings"
)

// A UserID names a user of the application, like "38". Many clients share one. The empty
// UserID means that a node ID has no user part. "false" and "anonymous" are ordinary IDs.
type UserID string

// A ClientID names one browser, like "38:Y7bysd": at most one live connection each.
type ClientID string

// A NodeID names one peer of the protocol, like "38:Y7bysd:O0ETfc" (a browser tab) or
// "server:FnXaqDxY" (one process of ours). It holds no space.
type NodeID string

// An ActionID is "<ms> <nodeId> <counter>" (protocol 7: "<base64 ms> <nodeId>"): unique for
// ever, the key by which an action is known everywhere, opaque but for the node ID in it.
type ActionID string

// ServerUser is the user part of every server's node ID. No client may claim it.
const ServerUser UserID = "server"

// User returns the part before the first colon, or "" for a node ID without one.
func (n NodeID) User() UserID {
	user, _, ok := strings.Cut(string(n), ":")
	if !ok {
		return ""
	}
	return UserID(user)
}

// Client returns the first two parts, "38:Y7bysd" of "38:Y7bysd:O0ETfc". A node ID with fewer
// than three parts is its own client ID.
func (n NodeID) Client() ClientID {
	s := string(n)
	first := strings.IndexByte(s, ':')
	if first < 0 {
		return ClientID(s)
	}
	second := strings.IndexByte(s[first+1:], ':')
	if second < 0 {
		return ClientID(s)
	}
	return ClientID(s[:first+1+second])
}

// User returns the part before the first colon, or "" for a client ID without one.
func (c ClientID) User() UserID { return NodeID(c).User() }

// Node returns the node ID inside an action ID: what stands between the first space and the
// next one, or the end. It is "" for a text without a space.
func (id ActionID) Node() NodeID {
	_, rest, _ := strings.Cut(string(id), " ")
	node, _, _ := strings.Cut(rest, " ")
	return NodeID(node)
}

// Client returns the client ID of the node that created the action.
func (id ActionID) Client() ClientID { return id.Node().Client() }

// maxNodeID bounds a node ID in bytes: one is kept for every connection.
const maxNodeID = 1 << 10

// validNodeID reports whether s can stand in an action ID and in a log: not empty, not over
// maxNodeID, without space and control characters (PROTOCOL section 1).
func validNodeID[T ~string | ~[]byte](s T) bool {
	if len(s) == 0 || len(s) > maxNodeID {
		return false
	}
	for i := range len(s) {
		switch c := s[i]; {
		case c <= ' ' || c == 0x7f:
			return false
		case c == 0xc2 && i+1 < len(s) && s[i+1] < 0xa0:
			return false // U+0080 to U+009F
		}
	}
	return true
}

// idDigits bounds the numbers of an action ID, so that sums and differences with a base time
// stay far from overflow.
const idDigits = 18

// CompareActionIDs compares by the time in the IDs: by that a client orders its actions itself.
func CompareActionIDs(a, b ActionID) int {
	ams, _, ac, _ := ParseActionID(a)
	bms, _, bc, _ := ParseActionID(b)
	return cmp.Or(cmp.Compare(ams, bms), cmp.Compare(ac, bc), cmp.Compare(a, b))
}

// ParseActionID takes a three-part ID apart (PROTOCOL section 1). ok is false for every other
// form, and for numbers that FormatActionID would write otherwise: two texts are never the same ID.
func ParseActionID(id ActionID) (ms int64, node NodeID, counter int64, ok bool) {
	first, rest, _ := strings.Cut(string(id), " ")
	second, third, _ := strings.Cut(rest, " ")
	ms, msOK := parseDecimal(first, idDigits)
	counter, counterOK := parseDecimal(third, idDigits)
	if !msOK || !counterOK || !validNodeID(second) {
		return 0, "", 0, false
	}
	return ms, NodeID(second), counter, true
}

// FormatActionID is the inverse of ParseActionID.
func FormatActionID(ms int64, node NodeID, counter int64) ActionID {
	b := make([]byte, 0, 64)
	b = strconv.AppendInt(b, ms, 10)
	b = append(b, ' ')
	b = append(b, node...)
	b = append(b, ' ')
	b = strconv.AppendInt(b, counter, 10)
	return ActionID(b)
}
