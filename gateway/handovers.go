package gateway

import "logux-proxy/wire"

// Handovers keeps what servers know of clients that left them, and the actions that were acknowledged before their
// outcome, where every server finds them. *cluster.HandoverQueue is one. No method blocks; each callback comes
// once, may come on any goroutine, also before the method returns, and must not block. Calls about
// one client take effect in their order.
type Handovers interface {
	// Store adds to the record of a client.
	Store(r wire.Record, done func(error))
	// Fetch returns the record of a client, empty when there is none. It stays until Confirm.
	Fetch(client wire.ClientID, done func(wire.Record, error))
	// Confirm takes off the record what the client will not send again.
	Confirm(client wire.ClientID, ids []wire.ActionID)
	// Settle gives an action in the record its outcome. Done gets the one to give to the client, another if there was one.
	Settle(client wire.ClientID, o wire.Outcome, done func(kept wire.Outcome))
	// Inquire says what became of an action in flight elsewhere: its outcome; or lost, when nobody will ever settle it;
	// or nothing, when its outcome will come.
	Inquire(client wire.ClientID, f wire.InFlight, done func(o *wire.Outcome, lost bool, err error))
	// Claim makes an action safe: only without an error it may be acknowledged before its outcome.
	Claim(c wire.Claim, done func(error))
	// Held says whether an action that was claimed may begin here, or go on: another server may have taken it over. Of an
	// action that is said once; then nothing else is to be asked about it.
	Held(client wire.ClientID, id wire.ActionID, done func(held bool))
	// SettleClaim ends a claim. Done gets the outcome to give to the client, unless another server has taken the
	// claim over and gives it.
	SettleClaim(c wire.Claim, o wire.Outcome, done func(kept wire.Outcome, taken bool))
}
