package wire

import "slices"

// A Topic is what servers listen to on the bus: one per channel with local subscribers and one
// per user with local connections.
type Topic string

// ChannelTopic is the topic of a channel.
func ChannelTopic(channel string) Topic { return Topic("ch:" + channel) }

// UserTopic is the topic of a user's connections.
func UserTopic(user UserID) Topic { return Topic("u:" + user) }

// AnonymousUser is the user ID of clients that nobody logged in by. All of them are one user, so that every
// server has some.
const AnonymousUser UserID = "anonymous"

// ClientTopic is the topic that reaches a client: its user's, or one of its own when its ID has no
// user part or the user is AnonymousUser, whose topic every server listens to.
func ClientTopic(client ClientID) Topic {
	if user := client.User(); user != "" && user != AnonymousUser {
		return UserTopic(user)
	}
	return Topic("n:" + client)
}

// NodeTopic is the topic that reaches a node: its client's.
func NodeTopic(node NodeID) Topic { return ClientTopic(node.Client()) }

// An EnvelopeKind says what an Envelope carries.
type EnvelopeKind uint8

// Kinds of envelopes. A server leaves alone those that it does not know.
const (
	// KindAction is an action for the clients that the targets name.
	KindAction EnvelopeKind = iota
	// KindAttach says that the one client in the targets has connected to Note.Server: other servers close its older
	// connections, and each server that this reaches answers with a KindRecord, be it an empty one.
	KindAttach
	// KindRecord is what a server knows of a client, for the server where it is now.
	KindRecord
	// KindOutcome is the outcome of an action of the one client in the targets, for the server where it is now.
	KindOutcome
	// KindDisconnect ends the connections of the users and clients in the targets.
	KindDisconnect
	// KindKept says to Note.To that Note.Server, where the one client in the targets is, has the outcomes of these actions from
	// it; or that it does not process them, as Note.To believed.
	KindKept
)

// An Envelope carries one action with its targets, or a note, from the server that publishes it to every
// server with an interest in one of its topics. It is immutable once published.
type Envelope struct {
	Kind   EnvelopeKind
	Origin NodeID // the publishing server
	// Epoch tells two starts of one Origin apart: a server that keeps its ID starts Seq anew.
	Epoch     uint64
	Seq       uint64 // counts the envelopes of one Origin and Epoch, from 1
	Published int64  // milliseconds since 1970, by the clock of Origin; 0 when unknown
	Action    *Action
	Note      *Note // nil in a KindAction
	Targets   Targets
	// Author is left out of Targets.Channels and Targets.Users: the client that sent the action.
	Author ClientID
	// Trace is the publication's; nil when nobody traces the action, and from releases that trace none.
	Trace *Trace
}

// Topics returns the distinct topics on which e is published.
func (e *Envelope) Topics() []Topic {
	t := &e.Targets
	topics := make([]Topic, 0, len(t.Channels)+len(t.Users)+len(t.Clients)+len(t.Nodes))
	for _, channel := range t.Channels {
		topics = append(topics, ChannelTopic(channel))
	}
	for _, user := range t.Users {
		topics = append(topics, UserTopic(user))
	}
	for _, client := range t.Clients {
		topics = append(topics, ClientTopic(client))
	}
	for _, node := range t.Nodes {
		topics = append(topics, NodeTopic(node))
	}
	slices.Sort(topics)
	return slices.Compact(topics)
}
