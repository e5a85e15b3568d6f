//go:build !linux

// Command bare is the floor that the load test compares with. It works on epoll.
package main

import (
	"fmt"
	"os"
)

func main() {
	fmt.Fprintln(os.Stderr, "bare: this program needs Linux")
	os.Exit(1)
}
