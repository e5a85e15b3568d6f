package poll

import (
	"testing"
	"time"
)

// "Wake makes the Wait under way, or else the next one, return soon", also when Wait finds the wake-up in its
// first look, with nothing else to report.
func TestWakeBeforeWait(t *testing.T) {
	p, err := New()
	if err != nil {
		t.Fatal(err)
	}
	returned := make(chan error, 1)
	go func() {
		events := make([]Event, 4)
		for range 100 {
			p.Wake()
			if _, err := p.Wait(events, -1); err != nil {
				returned <- err
				return
			}
		}
		returned <- nil
	}()
	select {
	case err := <-returned:
		if err != nil {
			t.Fatal(err)
		}
	case <-time.After(20 * time.Second):
		t.Fatal("a wake-up was lost")
	}
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
}
