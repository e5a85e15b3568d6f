//go:build linux

package main

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

// tick is the unit of CPU times in /proc: USER_HZ is 100 on every Linux that Go runs on.
const tick = 10 * time.Millisecond

// A process is what is read about the server in /proc. The zero value knows nothing: all its
// figures are 0.
type process struct{ pid int }

// cpu is the time that all threads of the process have used.
func (p process) cpu() time.Duration {
	if p.pid == 0 {
		return 0
	}
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.pid))
	if err != nil {
		return 0
	}
	// The name in brackets may hold spaces; after it come the fields from the third on.
	fields := strings.Fields(string(data[bytes.LastIndexByte(data, ')')+1:]))
	if len(fields) < 13 {
		return 0
	}
	user, _ := strconv.ParseInt(fields[11], 10, 64)
	system, _ := strconv.ParseInt(fields[12], 10, 64)
	return time.Duration(user+system) * tick
}

// rss is the resident memory of the process in bytes. smaps_rollup counts it page by page; the
// other files may be off by some pages for each thread.
func (p process) rss() int64 {
	if p.pid == 0 {
		return 0
	}
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", p.pid))
	if err != nil {
		return 0
	}
	_, rest, _ := strings.Cut(string(data), "\nRss:")
	fields := strings.Fields(rest)
	if len(fields) == 0 {
		return 0
	}
	kilobytes, _ := strconv.ParseInt(fields[0], 10, 64)
	return kilobytes << 10
}

// A machine is the CPU time of all cores together, by what it went into.
type machine struct{ busy, stolen, all time.Duration }

func readMachine() (m machine) {
	data, err := os.ReadFile("/proc/stat")
	if err != nil {
		return m
	}
	line, _, _ := strings.Cut(string(data), "\n")
	for i, field := range strings.Fields(line)[1:] {
		n, _ := strconv.ParseInt(field, 10, 64)
		t := time.Duration(n) * tick
		switch i {
		case 0, 1, 2, 5, 6: // user, nice, system, irq, softirq
			m.busy += t
			m.all += t
		case 3, 4: // idle, iowait
			m.all += t
		case 7:
			m.stolen += t
			m.all += t
		}
	}
	return m
}
