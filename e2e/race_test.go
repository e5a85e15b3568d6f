//go:build race

package e2e

// The binary under test is built like the tests: with the race detector when they have it.
const raceDetector = true
