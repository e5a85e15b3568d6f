package main

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode"
)

// docs/metrics.md has a row for each metric of a node of a cluster: name with labels, kind and help are the program's; the question that it answers is the
// page's. With -update the former are written again, and what is new goes to the end.
func TestMetricsPage(t *testing.T) {
	const path = "../../docs/metrics.md"
	p := startNode(t, "http://127.0.0.1:1/", "redis://127.0.0.1:1", "LOGUX_TRACE", "http://127.0.0.1:1") // metrics need none of them
	want := metricRows(page(t, p.admin+"metrics"))
	p.stop(t)
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var made strings.Builder
	row := regexp.MustCompile("^\\| `(logux_\\w+)[^|]*\\|.*\\| (.*) \\|$")
	for line := range strings.Lines(string(text)) {
		m := row.FindStringSubmatch(strings.TrimSuffix(line, "\n"))
		if m == nil {
			made.WriteString(line)
			continue
		}
		now, exists := want[m[1]]
		delete(want, m[1])
		switch question := m[2]; {
		case !exists:
			t.Errorf("the page has %s, which is no metric, or twice", m[1])
		case strings.Trim(question, " ?") == "":
			t.Errorf("the page does not say what %s answers", m[1])
		case !strings.Contains(question, "?") || strings.HasPrefix(question, "And "):
			t.Errorf("what %s answers is no question of its own: %s", m[1], question)
		default:
			made.WriteString(now + question + " |\n")
		}
	}
	for _, name := range slices.Sorted(maps.Keys(want)) {
		t.Errorf("the page has no row of %s; write it where it belongs, with the question that it answers", name)
		made.WriteString(want[name] + "? |\n")
	}
	if *update {
		if err := os.WriteFile(path, []byte(made.String()), 0o600); err != nil {
			t.Fatal(err)
		}
	} else if made.String() != string(text) {
		t.Error("the page of metrics is stale: make readme")
	}
}

// metricRows returns the beginning of the row of each metric in what /metrics says.
func metricRows(text string) map[string]string {
	help, kind, labels := map[string]string{}, map[string]string{}, map[string]string{}
	label := regexp.MustCompile(`(\w+)="`)
	for line := range strings.Lines(text) {
		line = strings.TrimSuffix(line, "\n")
		if rest, ok := strings.CutPrefix(line, "# HELP "); ok {
			name, words, _ := strings.Cut(rest, " ")
			help[name] = strings.ReplaceAll(words, "|", `\|`)
		} else if rest, ok := strings.CutPrefix(line, "# TYPE "); ok {
			name, word, _ := strings.Cut(rest, " ")
			kind[name] = word
		} else if name, rest, ok := strings.Cut(line, "{"); ok {
			for _, end := range []string{"_bucket", "_sum", "_count"} {
				if base, ok := strings.CutSuffix(name, end); ok && kind[base] == "histogram" {
					name = base
				}
			}
			var names []string
			for _, m := range label.FindAllStringSubmatch(rest, -1) {
				if m[1] != "le" {
					names = append(names, m[1])
				}
			}
			if names != nil {
				labels[name] = "{" + strings.Join(names, ",") + "}"
			}
		}
	}
	rows := make(map[string]string)
	for name := range help {
		if strings.HasPrefix(name, "logux_") {
			rows[name] = fmt.Sprintf("| `%s%s` | %s | %s | ", name, labels[name], kind[name], help[name])
		}
	}
	return rows
}

// Every variable that a page of the documentation names exists.
func TestDocsNames(t *testing.T) {
	pages, err := os.ReadDir("../../docs")
	if err != nil {
		t.Fatal(err)
	}
	known := map[string]bool{"LOGUX_CONFIG": true} // of the library for Django
	for name := range settingCases(t) {
		known[envName(name)] = true
	}
	for _, p := range pages {
		if !strings.HasSuffix(p.Name(), ".md") {
			continue
		}
		text, err := os.ReadFile("../../docs/" + p.Name())
		if err != nil {
			t.Fatal(err)
		}
		for _, word := range regexp.MustCompile(`\bLOGUX_[A-Z_]+\b`).FindAllString(string(text), -1) {
			if !known[word] {
				t.Errorf("%s names %s, which is no setting", p.Name(), word)
			}
		}
	}
}

// Every metric and every alert that a page of the documentation names exists.
func TestDocsMetrics(t *testing.T) {
	read := func(path string) string {
		t.Helper()
		text, err := os.ReadFile("../../" + path)
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	known := map[string]bool{"logux_add": true, "logux_actions": true, "logux_subscriptions": true, "logux_rails": true, "logux_host": true} // of libraries
	for _, m := range regexp.MustCompile("(?m)^\\| `(logux_\\w+)").FindAllStringSubmatch(read("docs/metrics.md"), -1) {
		for _, end := range []string{"", "_bucket", "_sum", "_count"} {
			known[m[1]+end] = true
		}
	}
	for _, m := range regexp.MustCompile(`alert: (\w+)`).FindAllStringSubmatch(read("charts/logux-proxy/alerts.yaml"), -1) {
		known[m[1]] = true
	}
	pages, err := filepath.Glob("../../docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range pages {
		page := strings.TrimPrefix(path, "../../")
		for _, word := range regexp.MustCompile(`\blogux_[a-z_]+\b|\bLogux[A-Z]\w+`).FindAllString(read(page), -1) {
			if !known[word] {
				t.Errorf("%s names %s, which is no metric and no alert", page, word)
			}
		}
	}
}

// Every link between pages of the documentation leads somewhere.
func TestDocsLinks(t *testing.T) {
	heading := regexp.MustCompile(`(?m)^#+ (.*)$`)
	link := regexp.MustCompile(`\]\(([^):#]*)(#[^)]*)?\)`)
	pages, err := filepath.Glob("../../docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range append(pages, "../../README.md", "../../ARCHITECTURE.md") {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range link.FindAllStringSubmatch(string(text), -1) {
			target, anchor := path, strings.TrimPrefix(m[2], "#")
			if m[1] != "" {
				target = filepath.Join(filepath.Dir(path), m[1])
			}
			there, err := os.ReadFile(target)
			if err != nil {
				t.Errorf("%s leads to %s: %v", path, m[1], err)
				continue
			}
			if anchor == "" {
				continue
			}
			if !slices.ContainsFunc(heading.FindAllStringSubmatch(string(there), -1), func(h []string) bool { return slug(h[1]) == anchor }) {
				t.Errorf("%s leads to %s, where there is no heading %q", path, m[1], anchor)
			}
		}
	}
}

// slug is the anchor of a heading.
func slug(heading string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == ' ':
			return '-'
		case r == '-' || r == '_' || unicode.IsLetter(r) || unicode.IsDigit(r):
			return unicode.ToLower(r)
		}
		return -1
	}, heading)
}
