package rehearsal

import (
	"fmt"
	"strings"
	"time"
)

// A Timeline is what was seen each second.
type Timeline struct {
	Nodes   []string // in the order in which they came
	Samples []Sample
	Events  []Event
}

// A Sample is one moment.
type Sample struct {
	At        time.Duration
	Wanted    int            // clients that want to be connected
	Connected int            // of them are
	Nodes     map[string]int // clients of each node that is there
}

// An Event is something that was done.
type Event struct {
	At   time.Duration
	Text string
}

// String is the timeline as a table, a line for each five seconds and for each event.
func (l *Timeline) String() string {
	const every = 5 * time.Second
	var b strings.Builder
	b.WriteString("  time  wanted  online ")
	for _, n := range l.Nodes {
		fmt.Fprintf(&b, "%8s", n)
	}
	events, next := l.Events, time.Duration(0)
	for _, s := range l.Samples {
		for len(events) > 0 && events[0].At <= s.At {
			fmt.Fprintf(&b, "\n%5.0fs  %s", events[0].At.Seconds(), events[0].Text)
			events = events[1:]
		}
		if s.At < next {
			continue
		}
		next = s.At.Truncate(every) + every
		fmt.Fprintf(&b, "\n%5.0fs%8d%8d ", s.At.Seconds(), s.Wanted, s.Connected)
		for _, n := range l.Nodes {
			if count, is := s.Nodes[n]; is {
				fmt.Fprintf(&b, "%8d", count)
			} else {
				b.WriteString("       -")
			}
		}
	}
	return b.String()
}

// The picture's measures, in pixels.
const (
	width, height            = 960, 420
	left, right, top, bottom = 60, 20, 50, 60
)

var colours = []string{"#4477aa", "#66ccee", "#228833", "#ccbb44", "#ee6677", "#aa3377", "#bbbbbb", "#994455", "#004488"}

// SVG is the timeline as a picture: the clients of the nodes on top of each other, how many want to be connected as a line, and events as marks.
func (l *Timeline) SVG(title string) string {
	if len(l.Samples) == 0 {
		return ""
	}
	end := l.Samples[len(l.Samples)-1].At
	most := 1
	for _, s := range l.Samples {
		most = max(most, s.Wanted, s.Connected)
	}
	most = (most*11/10 + 499) / 500 * 500
	x := func(at time.Duration) float64 {
		return left + float64(width-left-right)*at.Seconds()/max(end.Seconds(), 1)
	}
	y := func(n int) float64 { return height - bottom - float64(height-top-bottom)*float64(n)/float64(most) }

	var b strings.Builder
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" font-family="system-ui,sans-serif" font-size="12">`+"\n", width, height)
	fmt.Fprintf(&b, `<rect width="%d" height="%d" fill="#fff"/>`+"\n", width, height)
	fmt.Fprintf(&b, `<text x="%d" y="20" font-size="15">%s</text>`+"\n", left, title)
	for n := 0; n <= most; n += 500 {
		fmt.Fprintf(&b, `<path d="M%d %.1fH%d" stroke="#ddd"/><text x="%d" y="%.1f" text-anchor="end">%d</text>`+"\n", left, y(n), width-right, left-6, y(n)+4, n)
	}
	for at := time.Duration(0); at <= end; at += 30 * time.Second {
		fmt.Fprintf(&b, `<text x="%.1f" y="%d" text-anchor="middle">%.0f s</text>`+"\n", x(at), height-bottom+16, at.Seconds())
	}
	below := make([]int, len(l.Samples))
	for i, n := range l.Nodes {
		var over, under strings.Builder
		for k, s := range l.Samples {
			fmt.Fprintf(&over, "%.1f,%.1f ", x(s.At), y(below[k]+s.Nodes[n]))
		}
		for k := len(l.Samples) - 1; k >= 0; k-- {
			fmt.Fprintf(&under, "%.1f,%.1f ", x(l.Samples[k].At), y(below[k]))
		}
		for k, s := range l.Samples {
			below[k] += s.Nodes[n]
		}
		colour := colours[i%len(colours)]
		fmt.Fprintf(&b, `<polygon fill="%s" fill-opacity=".8" points="%s%s"/>`+"\n", colour, over.String(), strings.TrimSpace(under.String()))
		fmt.Fprintf(&b, `<rect x="%d" y="%d" width="12" height="12" fill="%s"/><text x="%d" y="%d">%s</text>`+"\n",
			left+i*90, height-24, colour, left+i*90+17, height-14, n)
	}
	var wanted strings.Builder
	for _, s := range l.Samples {
		fmt.Fprintf(&wanted, "%.1f,%.1f ", x(s.At), y(s.Wanted))
	}
	fmt.Fprintf(&b, `<polyline fill="none" stroke="#000" stroke-dasharray="4 3" points="%s"/>`+"\n", strings.TrimSpace(wanted.String()))
	fmt.Fprintf(&b, `<path d="M%d %dh24" stroke="#000" stroke-dasharray="4 3"/><text x="%d" y="%d">clients that want to be connected</text>`+"\n",
		left+len(l.Nodes)*90, height-18, left+len(l.Nodes)*90+30, height-14)
	for i, e := range l.Events {
		at, anchor := x(e.At)+3, "start"
		if at > width-90 {
			at, anchor = at-6, "end"
		}
		fmt.Fprintf(&b, `<path d="M%.1f %dV%d" stroke="#555" stroke-dasharray="2 2"/><text x="%.1f" y="%d" text-anchor="%s" font-size="10" fill="#333">%s</text>`+"\n",
			x(e.At), top-20, height-bottom, at, top-12+i%5*11, anchor, e.Text)
	}
	b.WriteString("</svg>\n")
	return b.String()
}
