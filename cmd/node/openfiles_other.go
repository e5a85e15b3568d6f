//go:build !linux && !darwin

package main

// connectionLimit is most: this system has no limit of open files to hold it against.
func connectionLimit(most int) int { return most }
