//go:build race

package deploy

// The program under test is built like the tests: with the race detector when they have it.
const raceDetector = true
