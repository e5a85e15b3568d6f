package history

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"
)

// A Recorder takes events from any number of goroutines. All of them are timed by its one clock.
type Recorder struct {
	began time.Time

	mu sync.Mutex
	// Guarded by mu.

	events []Event
}

// NewRecorder begins a history now.
func NewRecorder() *Recorder { return &Recorder{began: time.Now()} }

// Add appends e with the present time.
func (r *Recorder) Add(e Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	e.At = time.Since(r.began).Microseconds()
	r.events = append(r.events, e)
}

// Events returns the history so far. It must not be written to.
func (r *Recorder) Events() []Event {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.events[:len(r.events):len(r.events)]
}

// Save writes the history to a new file of JSON lines.
func Save(path string, events []Event) (err error) {
	f, err := os.Create(path)
	if err != nil {
		return fmt.Errorf("history: saving: %w", err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	w := bufio.NewWriter(f)
	lines := json.NewEncoder(w)
	for i := range events {
		if err := lines.Encode(&events[i]); err != nil {
			return fmt.Errorf("history: saving: %w", err)
		}
	}
	if err := w.Flush(); err != nil {
		return fmt.Errorf("history: saving: %w", err)
	}
	return nil
}

// Load reads a file of JSON lines.
func Load(path string) ([]Event, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("history: loading: %w", err)
	}
	defer func() { _ = f.Close() }()
	lines := json.NewDecoder(bufio.NewReader(f))
	var events []Event
	for {
		var e Event
		if err := lines.Decode(&e); errors.Is(err, io.EOF) {
			return events, nil
		} else if err != nil {
			return nil, fmt.Errorf("history: line %d of %s: %w", len(events)+1, path, err)
		}
		events = append(events, e)
	}
}
