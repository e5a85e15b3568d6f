// Package gateway is the Logux server itself: it joins connections (package transport), the protocol of
// each (package session) and the index of who listens to what (package hub) to the back-end and to the
// other servers.
//
// What a client may expect:
//   - An action it got synced for has exactly one outcome, logux/processed or logux/undo, and the
//     outcome reaches the client wherever it is connected by then.
//   - An action sent again after a reconnect is not processed again.
//   - The actions of one client are processed one after another.
//   - Whatever is re-sent to a channel from the moment the back-end was asked about a subscription
//     reaches the new subscriber.
//
// What a slow client gets: its deliveries wait, merged into fewer messages, up to a bound in bytes and
// time; then it is closed with 1013. It delays nobody else.
//
// Everything about one connection happens on its loop: the session, the hub's Add, Remove, Subscribe and
// Unsubscribe of its member, what waits to be sent. Answers of the back-end come on other goroutines and
// cross over by posted tasks. The ledger is the one place where both meet, under a lock of its own.
package gateway
