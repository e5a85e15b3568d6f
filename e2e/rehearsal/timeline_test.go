package rehearsal

import (
	"encoding/xml"
	"errors"
	"io"
	"strings"
	"testing"
	"time"
)

func TestTimeline(t *testing.T) {
	l := Timeline{
		Nodes: []string{"node-1", "node-2"},
		Samples: []Sample{
			{0, 10, 9, map[string]int{"node-1": 9}},
			{time.Second, 10, 10, map[string]int{"node-1": 10}},
			{5 * time.Second, 12, 11, map[string]int{"node-1": 6, "node-2": 5}},
		},
		Events: []Event{{2 * time.Second, "node-2 starts"}},
	}
	want := strings.Join([]string{
		"  time  wanted  online   node-1  node-2",
		"    0s      10       9        9       -",
		"    2s  node-2 starts",
		"    5s      12      11        6       5",
	}, "\n")
	if got := l.String(); got != want {
		t.Errorf("the table is\n%s\nwant\n%s", got, want)
	}
	picture := l.SVG("Two nodes")
	for d := xml.NewDecoder(strings.NewReader(picture)); ; {
		if _, err := d.Token(); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatalf("the picture is no XML: %v", err)
		}
	}
	for _, text := range []string{"Two nodes", "node-1", "node-2 starts"} {
		if !strings.Contains(picture, text) {
			t.Errorf("the picture does not say %q", text)
		}
	}
	if n := strings.Count(picture, "<polygon"); n != 2 {
		t.Errorf("the picture has %d areas, want 2", n)
	}
}
