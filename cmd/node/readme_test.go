package main

import (
	"os"
	"strings"
	"testing"
)

// The README's table of settings is the one that the code makes.
func TestReadmeSettings(t *testing.T) {
	const path, begin, end = "../../README.md", "from cmd/node/config.go -->\n", "<!-- end of settings -->"
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, found := strings.Cut(string(text), begin)
	table, after, closed := strings.Cut(rest, end)
	if !found || !closed {
		t.Fatal("the README has no place for the settings")
	}
	want := "\n" + settingsTable() + "\n"
	if *update {
		if err := os.WriteFile(path, []byte(before+begin+want+end+after), 0o600); err != nil {
			t.Fatal(err)
		}
		return
	}
	if table != want {
		t.Error("the README's table of settings is stale: make readme")
	}
}

// Every variable that the README names exists.
func TestReadmeNames(t *testing.T) {
	text, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	known := make(map[string]bool)
	for name := range settingCases(t) {
		known[envName(name)] = true
	}
	for word := range strings.FieldsFuncSeq(string(text), func(r rune) bool {
		return r != '_' && (r < 'A' || r > 'Z')
	}) {
		if strings.HasPrefix(word, envPrefix) && !known[word] {
			t.Errorf("the README names %s, which is no setting", word)
		}
	}
}
