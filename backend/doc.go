// Package backend asks the user's HTTP back-end and answers it: it speaks the Logux back-end
// protocol, versions 2, 3 and 4, as the client that sends auth and action commands, and as the
// server of the control API that takes actions from the back-end.
//
// Nothing in it blocks a caller: commands wait in one queue and share at most
// Config.Concurrency requests. While fewer are in flight a command travels alone at once; at the
// limit the waiting ones are put together into the next free request, so batching costs nothing when
// idle and appears when it helps. Answers are handled as they arrive.
package backend
