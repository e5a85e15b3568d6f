// Package history records what clients, the back-end and the test did and saw while servers of Logux ran, and judges afterwards whether the promises
// of the proxy held:
//
//	C1  an acknowledged action has exactly one outcome: the one that the back-end gave it
//	C2  the back-end saw each action once; again only when a server that had it was killed or was declared dead meanwhile
//	C3  each live addressee got each re-sent action exactly once
//	C4  actions of one author to one channel came in the order in which they were processed
//	C5  nothing that was re-sent after the subscribe command reached the back-end is missing at the new subscriber
//	C6  nobody else got an action, and nobody after unsubscribing
//
// The words mean, exactly:
//
// An outcome is a logux/processed or logux/undo, known by its own action ID. A server sends an outcome again on a client's next connection when it does not
// know that the client has it; a client drops an action whose ID is in its log. So the same outcome may come again on another connection, never on the same
// one, and a different one never, but after an action that C2 lets the back-end see again.
//
// An addressee is live from the moment its subscription was asked of the back-end (which later approved it) or, for actions addressed to users, clients and
// nodes, from the moment its connection was accepted; until it began to unsubscribe or to disconnect, or its connection ended. While it is live to the end of the
// history, or for Options.Grace after the approval of an action, it must have the action. When its connection ended earlier, what was on its way is excused: the
// client subscribes again with since, and completing it is the back-end's part; but not where a later action of the same author by way of the same server did
// reach it on that connection: then there was a hole.
//
// The back-end may approve an action while the server that asked stands still, as it would a server that is alive: that one re-sends when it is awake. It need not
// when another server has taken it for dead and had the action approved.
//
// What is sent to a channel while a client's subscription to it is being asked is kept for it. An action that reaches the client at once by another of its targets
// is not in that channel's order.
//
// Events are recorded so that verdicts are safe: before something is done by the one who does it, after it by the one who sees it.
package history

// A Kind says what happened.
type Kind string

// What clients do and see. All have Client and Conn.
const (
	Connected    Kind = "connected"    // the client got "connected" of server Node
	Disconnected Kind = "disconnected" // it begins to close, or saw the end; with Result when the server closed with a code
	Sent         Kind = "sent"         // it begins to send action ID on this connection; with Type, Channel and Mark
	Synced       Kind = "synced"       // it got the acknowledgement of action ID
	Outcome      Kind = "outcome"      // it got the outcome By with Result of action ID
	Received     Kind = "received"     // it got action ID with Mark
)

// What the back-end does and sees.
const (
	Asked    Kind = "asked"    // it got the command about action ID from server Node; with Mark
	Approved Kind = "approved" // it begins to approve ID, after it named the targets
	Answered Kind = "answered" // it begins to give ID its outcome, Result
)

// What the test does.
const (
	Posting Kind = "posting" // it begins to send action ID to targets through the control API of server Node
	Posted  Kind = "posted"  // which was accepted
	Killed  Kind = "killed"  // server Node was killed
	Dead    Kind = "dead"    // the others may take server Node for dead
	Awake   Kind = "awake"   // server Node goes on: what it was told meanwhile it reads now
	Fault   Kind = "fault"   // something else was done, said by Mark; for readers
)

// Processed is the Result of an outcome that is a logux/processed. Others are the reason of the logux/undo.
const Processed = "processed"

// The types of actions that judging knows. Any other action has the type "".
const (
	Subscribe   = "logux/subscribe"
	Unsubscribe = "logux/unsubscribe"
)

// An Event is one line of a history.
type Event struct {
	At     int64  `json:"at"` // microseconds since the history began; never less than in the line before
	Kind   Kind   `json:"kind"`
	Client string `json:"client,omitempty"` // client ID
	Conn   int    `json:"conn,omitempty"`   // counts the client's connections, from 1
	Node   string `json:"node,omitempty"`   // name of a server
	ID     string `json:"id,omitempty"`     // of the action
	Type   string `json:"type,omitempty"`
	Mark   string `json:"mark,omitempty"` // what the author put into the action to tell it from all others
	By     string `json:"by,omitempty"`   // ID of the outcome
	Result string `json:"result,omitempty"`
	// Channel of a subscription.
	Channel string   `json:"channel,omitempty"`
	Targets *Targets `json:"targets,omitempty"`
}

// Targets are whom an action is re-sent to.
type Targets struct {
	Channels []string `json:"channels,omitempty"`
	Users    []string `json:"users,omitempty"`
	Clients  []string `json:"clients,omitempty"`
	Nodes    []string `json:"nodes,omitempty"`
	Exclude  []string `json:"excludeClients,omitempty"`
}
