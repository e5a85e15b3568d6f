package gateway

import (
	"errors"

	"logux-proxy/wire"
)

// A client's server listens on the bus for what is addressed to the client and for what is addressed to its
// user. That is one topic, but for users that are shared by very many clients (wire.AnonymousUser).

// joinMember joins a client's topics and calls done when both are joined. Each call needs one leaveMember, also one
// that failed.
func (g *Gateway) joinMember(client wire.ClientID, done func(error)) {
	own, user := memberTopics(client)
	if user == "" {
		g.cfg.Bus.Join(own, done)
		return
	}
	g.cfg.Bus.Join(own, func(first error) {
		g.cfg.Bus.Join(user, func(second error) { done(errors.Join(first, second)) })
	})
}

// leaveMember takes one joinMember back.
func (g *Gateway) leaveMember(client wire.ClientID) {
	own, user := memberTopics(client)
	g.cfg.Bus.Leave(own)
	if user != "" {
		g.cfg.Bus.Leave(user)
	}
}

// memberTopics returns the topic that reaches a client, and the one of its user if that is another.
func memberTopics(client wire.ClientID) (own, user wire.Topic) {
	own = wire.ClientTopic(client)
	if id := client.User(); id != "" && wire.UserTopic(id) != own {
		user = wire.UserTopic(id)
	}
	return own, user
}
