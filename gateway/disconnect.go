package gateway

import (
	"fmt"

	"logux-proxy/gateway/transport"
	"logux-proxy/wire"
)

// Disconnect ends the connections of users and clients, here and on the other servers, and returns how many were
// here. Real clients come back by themselves, if the back-end lets them. Any goroutine may call it.
func (g *Gateway) Disconnect(users []wire.UserID, clients []wire.ClientID) (here int, err error) {
	t := wire.Targets{Users: users, Clients: clients}
	if t.Empty() {
		return 0, nil
	}
	here = g.disconnect(&t)
	err = g.cfg.Bus.Publish(&wire.Envelope{
		Kind: wire.KindDisconnect, Origin: g.cfg.Session.Server, Seq: g.published.Add(1), Targets: t,
	})
	if err != nil {
		return here, fmt.Errorf("gateway: telling the other servers to disconnect: %w", err)
	}
	return here, nil
}

// disconnectedText is what a connection is told that an operator ends.
const disconnectedText = "disconnected by an operator"

// disconnect ends the connections of users and clients here.
func (g *Gateway) disconnect(t *wire.Targets) (n int) {
	for _, m := range g.hub.Resolve(nil, t, "") {
		p := m.Peer
		if p.h.loop.Post(&closePeer{p: p, code: closePolicy, text: disconnectedText, reason: transport.CloseOperator}) {
			n++
		}
	}
	return n
}
