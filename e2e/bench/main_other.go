//go:build !linux

// Command bench measures a Logux proxy. It holds its clients on epoll and reads the figures of the
// server in /proc.
package main

import (
	"fmt"
	"os"
)

func main() {
	fmt.Fprintln(os.Stderr, "bench: this program needs Linux")
	os.Exit(1)
}
