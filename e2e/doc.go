// Package e2e examines the built proxy from outside: the binary runs as its own process, real Logux clients of many versions and a real browser
// connect to it, and a real HTTP server stands behind it. Nothing here imports the proxy's own packages but its vocabulary.
//
//	e2e/install.sh test
//	go test ./e2e
//
// Everything waits on conditions with a deadline (-patience); nothing sleeps. -proxy examines another program that takes the same settings, such as a
// build that is broken on purpose, which shows whether a test can fail. The clients' JavaScript side is in js, the demo for people in demo.
//
// What breaks while thousands of clients are at work is in faults: it runs on fleet, which starts nodes, Redis, a back-end and clients, and is judged by
// history. A test that fails keeps its history, for go run ./e2e/history/judge FILE.
package e2e
