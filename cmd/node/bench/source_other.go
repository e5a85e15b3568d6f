//go:build !linux

package bench

import "syscall"

// bindWithoutPort does nothing: other systems choose a port well enough.
func bindWithoutPort(string, string, syscall.RawConn) error { return nil }
