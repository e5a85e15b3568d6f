package wire

import "strings"

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
