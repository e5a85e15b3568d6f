// Package backendtest is a small real back-end for tests and for the demo. It speaks the Logux back-end
// protocol in versions 2, 3 and 4 and behaves like the sample application that the Logux project tests back-end
// libraries with (users with names), with the counter of the Logux README added.
//
// A test changes what it does: Handle and Script replace the behaviour for one action type, channel or auth, Reply
// replaces whole responses, and Requests and Commands tell what came.
package backendtest
