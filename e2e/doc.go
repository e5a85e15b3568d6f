// Package e2e examines the built proxy from outside: the binary runs as its own process, real Logux clients of many versions and a real browser
// connect to it, and a real HTTP server stands behind it. Nothing here imports the proxy's own packages but its vocabulary.
//
// Everything waits on conditions with a deadline; nothing sleeps. The clients' JavaScript side is in js, the demo for people in demo.
package e2e
