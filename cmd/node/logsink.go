package main

import (
	"bytes"
	"io"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// logBuffer is how many bytes of log wait for a slow output before lines are dropped.
	logBuffer = 4 << 20
	// logDelay is how long lines are collected for one write; logBatch ends it early.
	logDelay = 20 * time.Millisecond
	logBatch = 64 << 10
	// logPatience is how long the end of the process waits for an output that takes nothing.
	logPatience = time.Second
)

// A logSink writes log lines behind the back of those who log: a terminal that is held, a full disk
// or a stuck pipe costs lines, which are counted, and never time.
type logSink struct {
	out io.Writer
	// report, when set before Run, is told how many lines were dropped once the output takes lines
	// again. It may log.
	report  func(lines int64)
	dropped atomic.Int64
	failed  atomic.Int64

	mu      sync.Mutex
	pending []byte        // whole lines
	missing int64         // dropped lines that were not reported yet
	closed  bool          // no more lines
	wake    chan struct{} // of capacity 1: there is work
	full    chan struct{} // of capacity 1: the work should not wait for more
	idle    chan struct{} // closed when Run has ended
}

func newLogSink(out io.Writer) *logSink {
	return &logSink{out: out, wake: make(chan struct{}, 1), full: make(chan struct{}, 1), idle: make(chan struct{})}
}

// Write takes one whole line or more. It never blocks and never fails.
func (s *logSink) Write(lines []byte) (int, error) {
	s.mu.Lock()
	switch {
	case s.closed || len(s.pending)+len(lines) > logBuffer:
		s.dropped.Add(1)
		s.missing++
	default:
		s.pending = append(s.pending, lines...)
	}
	enough := len(s.pending) >= logBatch
	s.mu.Unlock()
	signalOne(s.wake)
	if enough {
		signalOne(s.full)
	}
	return len(lines), nil
}

// Sync does nothing: Close waits for the last lines.
func (s *logSink) Sync() error { return nil }

// Dropped is how many lines did not reach the output, because it was too slow or refused them.
func (s *logSink) Dropped() int64 { return s.dropped.Load() + s.failed.Load() }

// Run writes until Close. It is the sink's only goroutine.
func (s *logSink) Run() {
	defer close(s.idle)
	var spare []byte
	for {
		<-s.wake
		select {
		case <-s.full:
		case <-time.After(logDelay):
		}
		s.mu.Lock()
		lines, missing, closed := s.pending, s.missing, s.closed
		s.pending, s.missing = spare[:0], 0
		s.mu.Unlock()
		if _, err := s.out.Write(lines); err != nil {
			s.failed.Add(int64(bytes.Count(lines, []byte{'\n'})))
		}
		spare = lines
		if closed {
			return
		}
		if missing > 0 && s.report != nil {
			s.report(missing)
		}
	}
}

// Close ends the sink and waits until the last lines are written, or for logPatience.
func (s *logSink) Close() {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	signalOne(s.wake)
	signalOne(s.full)
	select {
	case <-s.idle:
	case <-time.After(logPatience):
	}
}

func signalOne(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
