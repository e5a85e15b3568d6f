//go:build linux || darwin

package bench

import "syscall"

// openFiles is how many files this process may open. Go raises the soft limit to the hard one by itself.
func openFiles() int {
	var files syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &files); err != nil {
		return noLimit
	}
	return int(min(files.Cur, noLimit))
}
