//go:build !linux && !darwin

package bench

func openFiles() int { return noLimit }
