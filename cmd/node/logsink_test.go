package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// A gate is an output that takes nothing until it is opened.
type gate struct {
	open chan struct{}

	mu  sync.Mutex
	got bytes.Buffer
}

func (g *gate) Write(p []byte) (int, error) {
	<-g.open
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.got.Write(p)
}

func (g *gate) text() string {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.got.String()
}

// A blocked output costs lines, which are counted and reported, and never time; what was not
// dropped is whole and in order.
func TestSinkOfBlockedOutput(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		out := &gate{open: make(chan struct{})}
		sink := newLogSink(out)
		var reported int64
		sink.report = func(lines int64) { reported += lines }
		go sink.Run()

		line := func(i int) string { return fmt.Sprintf("%06d %s\n", i, strings.Repeat("x", 1016)) }
		const lines = 20_000 // five times the buffer
		start := time.Now()
		for i := range lines {
			if n, err := sink.Write([]byte(line(i))); n != 1024 || err != nil {
				t.Fatalf("Write: %d, %v", n, err)
			}
		}
		if took := time.Since(start); took != 0 {
			t.Errorf("writers waited %v", took)
		}
		dropped := sink.Dropped()
		if kept := lines - dropped; kept < logBuffer/1024 || kept > 2*logBuffer/1024+logBatch {
			t.Errorf("kept %d lines", kept)
		}
		close(out.open)
		synctest.Wait()
		time.Sleep(time.Second) //nolint:forbidigo // the bubble's clock
		if reported != dropped {
			t.Errorf("reported %d of %d dropped lines", reported, dropped)
		}
		sink.Close()
		if got := int64(strings.Count(out.text(), "\n")); got != lines-dropped {
			t.Errorf("%d lines written, want %d", got, lines-dropped)
		}
		before := -1
		for l := range strings.Lines(out.text()) {
			if i, err := strconv.Atoi(l[:6]); err != nil || i <= before || l != line(i) {
				t.Fatalf("line %.20q after %d", l, before)
			} else {
				before = i
			}
		}
	})
}

// Lines leave without anybody's help, soon.
func TestSinkFlushes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		out := &gate{open: make(chan struct{})}
		close(out.open)
		sink := newLogSink(out)
		go sink.Run()
		for i := range 3 {
			fmt.Fprintln(sink, i)              //nolint:errcheck // never fails
			time.Sleep(100 * time.Millisecond) //nolint:forbidigo // the bubble's clock
			if got := strings.Count(out.text(), "\n"); got != i+1 {
				t.Errorf("%d of %d lines after 100 ms", got, i+1)
			}
		}
		sink.Close()
	})
}

// The end of the process waits for the last lines, but not for an output that takes nothing.
func TestSinkClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		out := &gate{open: make(chan struct{})}
		sink := newLogSink(out)
		go sink.Run()
		fmt.Fprintln(sink, "last") //nolint:errcheck // never fails
		start := time.Now()
		sink.Close()
		if took := time.Since(start); took != logPatience {
			t.Errorf("waited %v", took)
		}
		close(out.open)
		synctest.Wait()
		if out.text() != "last\n" {
			t.Errorf("wrote %q", out.text())
		}
		fmt.Fprintln(sink, "too late") //nolint:errcheck // never fails
		if sink.Dropped() != 1 {
			t.Errorf("%d dropped after the end", sink.Dropped())
		}
	})
}

type fullDisk struct{}

func (fullDisk) Write([]byte) (int, error) { return 0, errors.New("no space left on device") }

func TestSinkOfFullDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sink := newLogSink(fullDisk{})
		go sink.Run()
		fmt.Fprint(sink, "a\nb\n") //nolint:errcheck // never fails
		sink.Close()
		if sink.Dropped() != 2 {
			t.Errorf("%d dropped, want 2", sink.Dropped())
		}
	})
}

func BenchmarkSinkWrite(b *testing.B) {
	sink := newLogSink(io.Discard)
	go sink.Run()
	defer sink.Close()
	line := []byte(strings.Repeat("x", 200) + "\n")
	b.ReportAllocs()
	for b.Loop() {
		if _, err := sink.Write(line); err != nil {
			b.Fatal(err)
		}
	}
}
