package wire

import (
	"crypto/rand"
	"strconv"
	"strings"
	"time"
)

// A ServerID names one life of one server: its node ID, when it started, and some letters by chance, like
// "server:FnXaqDxY/mb3k2x1q-GJ5QAX". A server that is started again under its old node ID is another member:
// what the one before it left behind is not its own.
type ServerID string

// MaxServerID bounds a ServerID in bytes: every server keeps one for each member.
const MaxServerID = 256

// NewServerID names the life of node that began at start.
func NewServerID(node NodeID, start time.Time) ServerID {
	return ServerID(string(node) + "/" + strconv.FormatInt(start.UnixMilli(), 36) + "-" + rand.Text()[:6])
}

// Node returns the node ID of the server.
func (id ServerID) Node() NodeID {
	at := strings.LastIndexByte(string(id), '/')
	if at < 0 {
		return NodeID(id)
	}
	return NodeID(id[:at])
}

// Started returns when the server started, in milliseconds since 1970; 0 when the ID does not say so.
func (id ServerID) Started() int64 {
	_, life, _ := strings.Cut(string(id[len(id.Node()):]), "/")
	ms, _, _ := strings.Cut(life, "-")
	n, err := strconv.ParseInt(ms, 36, 64)
	if err != nil || n < 0 {
		return 0
	}
	return n
}

// Valid reports whether id can be the name of a member: short, without spaces and control characters, and of
// a server's node ID.
func (id ServerID) Valid() bool {
	if len(id) > MaxServerID || id.Node().User() != ServerUser || len(id.Node()) == len(id) {
		return false
	}
	for i := range len(id) {
		if c := id[i]; c <= ' ' || c == 0x7f {
			return false
		}
	}
	return true
}
