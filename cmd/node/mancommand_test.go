package main

import (
	"io"
	"slices"
	"strings"
	"testing"
)

// The page names every command and flag that a user may use, and no line of it is read as a request by mistake.
func TestManualPage(t *testing.T) {
	out, errs, code := command(t, nil, "", "man")
	if code != exitOK || errs != "" {
		t.Fatalf("%d %q", code, errs)
	}
	requests := []string{".TH", ".SH", ".SS", ".PP", ".TP", ".B", ".br", ".RS", ".RE", ".nf", ".fi"}
	for line := range strings.Lines(out) {
		name, _, _ := strings.Cut(strings.TrimSpace(line), " ")
		if strings.HasPrefix(line, "'") || strings.HasPrefix(line, ".") && !slices.Contains(requests, name) {
			t.Errorf("a line is read as a request: %s", line)
		}
	}
	parser, err := newParser(&commandLine{}, nil, io.Discard, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	named := func(text string) {
		if !strings.Contains(out, roff(text)) {
			t.Errorf("%s is not in the page", text)
		}
	}
	for _, leaf := range parser.Model.Leaves(true) {
		if leaf != parser.Model.DefaultCmd {
			named(".SS \"" + leaf.Path())
		}
		for _, flag := range leaf.Flags {
			named("--" + flag.Name)
			if isSetting(flag) {
				named("(" + envName(flag.Name) + ")")
			}
		}
	}
	for _, part := range []string{"SETTINGS", "EXIT STATUS", "FILES", "--max-p99=TIME", "-p, --port=NUMBER (LOGUX_PORT)", "Default: 60s, in development 0s."} {
		named(part)
	}
	if strings.Contains(out, "complete") && strings.Contains(out, roff("complete-words")) || strings.Contains(out, roff("settings-table")) {
		t.Error("a hidden command is in the page")
	}
}

func TestRoff(t *testing.T) {
	var m manual
	m.macro("B", `say "a\b-c"`)
	m.text(".dot\n'quote\nplain -x")
	if want := ".B \"say \\(dqa\\eb\\-c\\(dq\"\n\\&.dot\n\\&'quote\nplain \\-x\n"; m.String() != want {
		t.Errorf("it is %q, want %q", m.String(), want)
	}
}
