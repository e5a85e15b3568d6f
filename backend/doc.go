// Package backend asks the user's HTTP back-end and answers it: it speaks the Logux back-end
// protocol, versions 2, 3 and 4, as the client that sends auth and action commands, and as the
// server of the control API that takes actions from the back-end.
//
// Nothing in it blocks a caller: commands wait in one line and share at most
// Config.Concurrency requests. While fewer are in flight a command travels alone at once; at the
// limit the waiting ones are put together into the next free request, so batching costs nothing when
// idle and appears when it helps. Answers are handled as they arrive.
//
// What a back-end may rely on:
//
//   - At most Concurrency requests are open at once, whatever the clients do.
//   - A command that it may have acted on is not sent again, unless it is auth or a subscription or the operator
//     says that the back-end knows a repeated meta.id (RetryAll). A request that failed as a whole is never repeated as
//     a whole: its commands go alone.
//   - While it does not answer, or answers 503, 429 or 403, one command at a time knocks, with growing pauses, and
//     the others wait for up to Config.Hold.
//   - It may call the control API from inside a request that is open: nothing is shared between the two.
//
// The files: client.go dispatches; line.go is what waits; gate.go is whether the back-end is there; request.go is one
// POST and its answers; exchange.go is their legal order; failure.go is what may be sent again.
package backend
