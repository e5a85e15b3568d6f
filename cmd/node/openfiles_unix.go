//go:build linux || darwin

package main

import "syscall"

// connectionLimit is most, or what the limit of open files leaves for connections: beyond it a new
// client is better told so (503) than left hanging in the kernel's queue. Go raises the soft limit
// to the hard one by itself.
func connectionLimit(most int) int {
	const others = 256 // listeners, the back-end's connections, files
	var files syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &files); err != nil || files.Cur > uint64(most)+others {
		return most
	}
	return max(int(files.Cur)-others, int(files.Cur)/2, 1)
}
