package dashboard

import (
	"fmt"
	"html"
	"math"
	"strings"
)

// A Picture is a dashboard with what its queries answered.
type Picture struct {
	Definition *Definition
	From, To   float64 // Unix seconds
	Lines      map[*Panel][]Line
	Marks      []Mark // of the annotations
	Note       string // below the title
}

// A Line is a series under the name that its legend has.
type Line struct {
	Name   string
	Points []Point
}

// A Mark is a moment across all panels.
type Mark struct {
	At   float64
	Text string
}

// Pixels: a panel's grid has 24 columns.
const (
	column, unitHeight = 54, 30
	head               = 50
	gap                = 6
)

var palette = []string{"#3b78c3", "#e0752d", "#2f9e44", "#b83280", "#c9a400", "#12a4a4", "#7c4fd0", "#c92a2a", "#5c6770", "#7ba23f"}

var named = map[string]string{"green": "#2f9e44", "orange": "#e8890c", "red": "#d6293a"}

// SVG draws it.
func (p *Picture) SVG() string {
	rows := 0
	for i := range p.Definition.Panels {
		g := p.Definition.Panels[i].GridPos
		rows = max(rows, g.Y+g.H)
	}
	width, height := 24*column, head+rows*unitHeight+gap
	var b strings.Builder
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" width="%d" height="%d" font-family="system-ui,sans-serif" font-size="11">`+"\n", width, height, width, height)
	fmt.Fprintf(&b, `<rect width="%d" height="%d" fill="#f4f5f7"/><text x="%d" y="22" font-size="17" fill="#111">%s</text><text x="%d" y="40" fill="#555">%s</text>`+"\n",
		width, height, gap, html.EscapeString(p.Definition.Title), gap, html.EscapeString(p.Note))
	for i := range p.Definition.Panels {
		panel := &p.Definition.Panels[i]
		g := panel.GridPos
		x, y, w, h := float64(g.X*column+gap/2), float64(head+g.Y*unitHeight+gap/2), float64(g.W*column-gap), float64(g.H*unitHeight-gap)
		if panel.Type == "row" {
			fmt.Fprintf(&b, `<text x="%.0f" y="%.0f" font-size="14" font-weight="600" fill="#111">%s</text>`+"\n", x+2, y+17, html.EscapeString(panel.Title))
			continue
		}
		fmt.Fprintf(&b, `<g transform="translate(%.0f %.0f)"><title>%s</title><rect width="%.0f" height="%.0f" fill="#fff" stroke="#dcdfe3"/>`,
			x, y, html.EscapeString(panel.Description), w, h)
		fmt.Fprintf(&b, `<text x="8" y="16" font-weight="600" fill="#222">%s</text>`+"\n", html.EscapeString(panel.Title))
		if panel.Type == "stat" {
			p.stat(&b, panel, w, h)
		} else {
			p.chart(&b, panel, w, h)
		}
		b.WriteString("</g>\n")
	}
	b.WriteString("</svg>\n")
	return b.String()
}

// stat is the last number of each line, with a small line behind the first.
func (p *Picture) stat(b *strings.Builder, panel *Panel, w, h float64) {
	lines := p.Lines[panel]
	if len(lines) == 0 {
		fmt.Fprintf(b, `<text x="%.0f" y="%.0f" text-anchor="middle" font-size="22" fill="#999">none</text>`, w/2, h/2+10)
		return
	}
	last := lines[0].Points[len(lines[0].Points)-1].Value
	colour := panel.colour(last)
	most := 0.0
	for _, pt := range lines[0].Points {
		most = max(most, pt.Value)
	}
	small := p.path(lines[0].Points, 0, w, 76, h-2, max(most, 1e-9))
	fmt.Fprintf(b, `<path d="%s" fill="none" stroke="%s" stroke-opacity=".55"/>`, small, colour)
	fmt.Fprintf(b, `<text x="%.0f" y="%.0f" text-anchor="middle" font-size="28" fill="%s">%s</text>`, w/2, 50.0, colour, Format(last, panel.FieldConfig.Defaults.Unit))
	fmt.Fprintf(b, `<text x="%.0f" y="%.0f" text-anchor="middle" font-size="10" fill="#777">%s, at most %s</text>`,
		w/2, 66.0, html.EscapeString(lines[0].Name), Format(most, panel.FieldConfig.Defaults.Unit))
}

func (panel *Panel) colour(v float64) string {
	colour := named["green"]
	for _, s := range panel.FieldConfig.Defaults.Thresholds.Steps {
		if s.Value == nil || v >= *s.Value {
			colour = named[s.Color]
		}
	}
	return colour
}

// chart is lines with an axis from 0 and a legend.
func (p *Picture) chart(b *strings.Builder, panel *Panel, w, h float64) {
	d := &panel.FieldConfig.Defaults
	lines := p.Lines[panel]
	most := highest(lines)
	if d.Max != nil {
		most = *d.Max
	}
	top := ceiling(most)
	if d.Unit == "bytes" {
		top = math.Exp2(math.Ceil(math.Log2(max(most, 4))))
	}
	const left, right = 52.0, 10.0
	legend := legendRows(lines, w)
	above, below := 26.0, h-18-14*float64(legend)
	for i := range 5 {
		v := top * float64(i) / 4
		y := below - (below-above)*float64(i)/4
		fmt.Fprintf(b, `<path d="M%.0f %.1fH%.0f" stroke="#e6e8eb"/><text x="%.0f" y="%.1f" text-anchor="end" font-size="10" fill="#666">%s</text>`,
			left, y, w-right, left-5, y+3, Format(v, d.Unit))
	}
	for at := 0.0; at <= p.To-p.From; at += 30 {
		x := left + (w-left-right)*at/(p.To-p.From)
		fmt.Fprintf(b, `<text x="%.0f" y="%.0f" text-anchor="middle" font-size="9" fill="#666">%.0f s</text>`, x, below+12, at)
	}
	for _, m := range p.Marks {
		x := left + (w-left-right)*(m.At-p.From)/(p.To-p.From)
		fmt.Fprintf(b, `<path d="M%.1f %.0fV%.0f" stroke="#7c4fd0" stroke-dasharray="3 2"><title>%s</title></path>`, x, above, below, html.EscapeString(m.Text))
	}
	if len(lines) == 0 {
		fmt.Fprintf(b, `<text x="%.0f" y="%.0f" text-anchor="middle" font-size="14" fill="#999">No data</text>`, w/2, h/2)
		return
	}
	for i, l := range lines {
		fmt.Fprintf(b, `<path d="%s" fill="none" stroke="%s" stroke-width="1.3"/>`+"\n", p.path(l.Points, left, w-right, above, below, top), palette[i%len(palette)])
	}
	x, y := 8.0, below+28
	for i, l := range lines {
		if n := 20 + 5.8*float64(len(l.Name)); x+n > w-4 && x > 8 {
			x, y = 8, y+14
		}
		fmt.Fprintf(b, `<rect x="%.0f" y="%.0f" width="9" height="3" fill="%s"/><text x="%.0f" y="%.0f" font-size="10" fill="#333">%s</text>`,
			x, y-5, palette[i%len(palette)], x+12, y, html.EscapeString(l.Name))
		x += 20 + 5.8*float64(len(l.Name))
	}
}

// hole is the time without a value that breaks a line, in seconds.
const hole = 7

// path is a line of points from left to right.
func (p *Picture) path(points []Point, left, right, above, below, top float64) string {
	var b strings.Builder
	pen, last := "M", math.Inf(-1)
	for _, pt := range points {
		v := pt.Value
		if math.IsNaN(v) {
			pen = "M"
			continue
		}
		if pt.At-last > hole {
			pen = "M"
		}
		last = pt.At
		y := below - (below-above)*min(v, top*1.02)/top
		fmt.Fprintf(&b, "%s%.0f %.1f", pen, left+(right-left)*(pt.At-p.From)/(p.To-p.From), y)
		pen = "L"
	}
	return b.String()
}

func highest(lines []Line) (most float64) {
	for _, l := range lines {
		for _, pt := range l.Points {
			if !math.IsNaN(pt.Value) && !math.IsInf(pt.Value, 0) {
				most = max(most, pt.Value)
			}
		}
	}
	return most
}

// ceiling is the next number from v up that divides well by four.
func ceiling(v float64) float64 {
	if v <= 0 {
		return 1
	}
	magnitude := math.Pow(10, math.Floor(math.Log10(v)))
	for _, m := range []float64{1, 2, 4, 8, 10} {
		if v <= m*magnitude*1.0001 {
			return m * magnitude
		}
	}
	return 20 * magnitude
}

func legendRows(lines []Line, w float64) int {
	rows, x := 1, 8.0
	for _, l := range lines {
		n := 20 + 5.8*float64(len(l.Name))
		if x+n > w-4 && x > 8 {
			rows, x = rows+1, 8
		}
		x += n
	}
	return rows
}

// Format writes a number in a unit of Grafana.
func Format(v float64, unit string) string {
	short := func(v, base float64, names ...string) string {
		i := 0
		for ; math.Abs(v) >= base && i < len(names)-1; i++ {
			v /= base
		}
		digits := max(0, 2-max(0, int(math.Floor(math.Log10(math.Abs(v))))))
		text := fmt.Sprintf("%.*f", digits, v)
		if digits > 0 {
			text = strings.TrimSuffix(strings.TrimRight(text, "0"), ".")
		}
		return text + names[i]
	}
	switch {
	case math.IsNaN(v):
		return "NaN"
	case v == 0:
		return "0"
	}
	switch unit {
	case "percentunit":
		return short(v*100, math.Inf(1), " %")
	case "bytes":
		return short(v, 1024, " B", " KiB", " MiB", " GiB", " TiB")
	case "s":
		if v < 1e-3 {
			return short(v*1e6, 1000, " µs")
		} else if v < 1 {
			return short(v*1e3, 1000, " ms")
		}
		return short(v, math.Inf(1), " s")
	case "ops", "reqps":
		return short(v, 1000, "/s", "K/s", "M/s")
	}
	return short(v, 1000, "", "K", "M")
}
