// Package session is the Logux protocol of one connection as a pure state machine: messages and
// times go in, messages to send and things to do come out in a Ready. It has no socket, no clock, no
// goroutine and no lock, so the same input always gives the same output.
//
// A session goes through three states: waiting for connect, waiting for the back-end's word, and
// ready. Before it is ready every message but connect, headers, error and debug is kept (bounded) and
// handed back through Ready.Replay, in order.
//
// # Acknowledgements
//
// A client's sync is acknowledged when all its actions have their outcome (Settled), in the order of
// arrival, or when Config.AckLimit has passed: clients in the field give up on a server that does
// not acknowledge within 20 s. What goes out is cumulative for the client, so an acknowledgement never passes
// one that is still waited for.
package session
