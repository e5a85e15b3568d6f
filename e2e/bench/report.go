package main

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"logux-proxy/cmd/node/bench/latency"
)

// A result is what one scenario measured on one server.
type result struct {
	scenario string
	server   string
	rows     []row
	// faults are reasons to fail: something was lost or doubled or did not connect.
	faults []string
}

// A row is one figure. Rows of the same name in several results stand side by side.
type row struct {
	name  string
	value float64
}

func (r *result) add(name string, value float64) { r.rows = append(r.rows, row{name, value}) }

func (r *result) addLatency(prefix string, h *latency.Histogram) {
	r.add(prefix+"_p50_ms", milliseconds(h.Percentile(50)))
	r.add(prefix+"_p99_ms", milliseconds(h.Percentile(99)))
	r.add(prefix+"_max_ms", milliseconds(time.Duration(h.Max)))
}

// count adds a figure that has to be 0.
func (r *result) count(name string, n int64) {
	r.add(name, float64(n))
	if n != 0 {
		r.faults = append(r.faults, fmt.Sprintf("%s: %d %s", r.scenario, n, strings.ReplaceAll(name, "_", " ")))
	}
}

func (r *result) value(name string) (float64, bool) {
	for _, row := range r.rows {
		if row.name == name {
			return row.value, true
		}
	}
	return 0, false
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// table is one text about all results: a section for each scenario, a column for each server. Where
// a server was measured several times the median stands, with the range in brackets.
func table(results []*result) string {
	var text []byte
	var scenarios, servers []string
	for _, r := range results {
		if !slices.Contains(scenarios, r.scenario) {
			scenarios = append(scenarios, r.scenario)
		}
		if !slices.Contains(servers, r.server) {
			servers = append(servers, r.server)
		}
	}
	for _, scenario := range scenarios {
		text = fmt.Appendf(text, "\n%-34s", scenario)
		for _, server := range servers {
			text = fmt.Appendf(text, "%28s", server)
		}
		if len(servers) == 2 {
			text = fmt.Appendf(text, "%10s", "ratio")
		}
		text = append(text, '\n')
		for _, name := range names(results, scenario) {
			text = fmt.Appendf(text, "  %-32s", name)
			var medians []float64
			for _, server := range servers {
				values := figures(results, scenario, server, name)
				if len(values) == 0 {
					text = fmt.Appendf(text, "%28s", "-")
					continue
				}
				medians = append(medians, median(values))
				text = fmt.Appendf(text, "%28s", describe(values))
			}
			if len(medians) == 2 && medians[1] != 0 {
				text = fmt.Appendf(text, "%9.2fx", medians[0]/medians[1])
			}
			text = append(text, '\n')
		}
	}
	return string(text)
}

func names(results []*result, scenario string) (names []string) {
	for _, r := range results {
		if r.scenario != scenario {
			continue
		}
		for _, row := range r.rows {
			if !slices.Contains(names, row.name) {
				names = append(names, row.name)
			}
		}
	}
	return names
}

func figures(results []*result, scenario, server, name string) (values []float64) {
	for _, r := range results {
		if r.scenario == scenario && r.server == server {
			if value, ok := r.value(name); ok {
				values = append(values, value)
			}
		}
	}
	slices.Sort(values)
	return values
}

// median is of values in order.
func median(values []float64) float64 {
	n := len(values)
	return (values[(n-1)/2] + values[n/2]) / 2
}

func describe(values []float64) string {
	text := figure(median(values))
	if n := len(values); n > 1 {
		text += " [" + figure(values[0]) + "-" + figure(values[n-1]) + "]"
	}
	return text
}

// figure writes three or more digits that mean something.
func figure(v float64) string {
	switch {
	case v == 0:
		return "0"
	case v >= 100:
		return fmt.Sprintf("%.0f", v)
	case v >= 10:
		return fmt.Sprintf("%.1f", v)
	default:
		return fmt.Sprintf("%.3g", v)
	}
}
