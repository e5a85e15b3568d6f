package dashboard

import (
	"encoding/json"
	"encoding/xml"
	"errors"
	"io"
	"math"
	"strings"
	"testing"
)

func TestPicture(t *testing.T) {
	d, err := Read("../../charts/logux-proxy/dashboard.json")
	if err != nil {
		t.Fatal(err)
	}
	p := Picture{Definition: d, From: 100, To: 200, Lines: make(map[*Panel][]Line), Marks: []Mark{{150, "node-1 started"}}, Note: "a < b"}
	for i := range d.Panels {
		if panel := &d.Panels[i]; panel.Type != "row" && i%5 != 0 {
			p.Lines[panel] = []Line{{"first", []Point{{100, 1}, {110, 2}, {160, 3}}}, {"second", []Point{{100, math.NaN()}, {110, 1}}}}
		}
	}
	picture := p.SVG()
	for x := xml.NewDecoder(strings.NewReader(picture)); ; {
		if _, err := x.Token(); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatalf("the picture is no XML: %v", err)
		}
	}
	for _, text := range []string{"Logux proxy", "a &lt; b", "Are users hurt?", "No data", "node-1 started", ">second<"} {
		if !strings.Contains(picture, text) {
			t.Errorf("the picture does not say %q", text)
		}
	}
}

// Panels neither overlap nor leave the grid, and each says which question it answers.
func TestDefinition(t *testing.T) {
	d, err := Read("../../charts/logux-proxy/dashboard.json")
	if err != nil {
		t.Fatal(err)
	}
	taken := make(map[[2]int]string)
	for i := range d.Panels {
		p := &d.Panels[i]
		if p.Type != "row" && (len(p.Targets) == 0 || !strings.Contains(p.Description, "?")) {
			t.Errorf("%q asks nothing: %q", p.Title, p.Description)
		}
		g := p.GridPos
		for x := g.X; x < g.X+g.W; x++ {
			for y := g.Y; y < g.Y+g.H; y++ {
				if other := taken[[2]int{x, y}]; other != "" || x >= 24 {
					t.Fatalf("%q has the place of %q, or one that is none", p.Title, other)
				}
				taken[[2]int{x, y}] = p.Title
			}
		}
	}
}

func TestFormat(t *testing.T) {
	for _, c := range []struct {
		v    float64
		unit string
		want string
	}{
		{0, "s", "0"}, {0.0000123, "s", "12.3 µs"}, {0.25, "s", "250 ms"}, {61.54, "s", "61.5 s"}, {0.81735, "s", "817 ms"}, {400, "short", "400"}, {0.0123, "percentunit", "1.23 %"},
		{1536, "bytes", "1.5 KiB"}, {12, "ops", "12/s"}, {1200, "reqps", "1.2K/s"}, {15000, "short", "15K"}, {math.NaN(), "short", "NaN"},
	} {
		if got := Format(c.v, c.unit); got != c.want {
			t.Errorf("%v %s is written %q, want %q", c.v, c.unit, got, c.want)
		}
	}
}

func TestCeiling(t *testing.T) {
	for v, want := range map[float64]float64{0: 1, 0.3: 0.4, 1: 1, 5: 8, 9: 10, 120: 200} {
		if got := ceiling(v); math.Abs(got-want) > 1e-9 {
			t.Errorf("the axis for %v ends at %v, want %v", v, got, want)
		}
	}
}

func TestPoint(t *testing.T) {
	var p Point
	if err := json.Unmarshal([]byte(`[1.5,"2"]`), &p); err != nil || p != (Point{1.5, 2}) {
		t.Errorf("read %v, %v", p, err)
	}
	for _, bad := range []string{`["1","2"]`, `[1,2]`, `[1,"x"]`, `{}`} {
		if err := json.Unmarshal([]byte(bad), &p); err == nil {
			t.Errorf("%s is read as a point", bad)
		}
	}
}
