package wire

// A Topic is what servers listen to on the bus: one per channel with local subscribers and one
// per user with local connections (DESIGN section 4).
type Topic string

// ChannelTopic is the topic of a channel.
func ChannelTopic(channel string) Topic { return Topic("ch:" + channel) }

// UserTopic is the topic of a user's connections.
func UserTopic(user UserID) Topic { return Topic("u:" + user) }

// An Envelope carries one action with its targets from the server that publishes it to every
// server with an interest in one of its topics. It is immutable once published.
type Envelope struct {
	Origin  NodeID // the publishing server
	Seq     uint64 // counts the envelopes of one Origin, from 1
	Action  *Action
	Targets Targets
	// Author is left out of Targets.Channels and Targets.Users: the client that sent the action.
	Author ClientID
}

// Topics returns the distinct topics on which e is published.
func (e *Envelope) Topics() []Topic { panic("wire") }
