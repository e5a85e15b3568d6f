package main

import (
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

func TestCompletions(t *testing.T) {
	parser, err := newParser(&commandLine{}, nil, io.Discard, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	for line, want := range map[string]string{
		"":                        "bench check cluster completion health man send version",
		"c":                       "check cluster completion",
		"x":                       "",
		"--backend-h":             "--backend-hold",
		"-p 80 v":                 "version",
		"--port=80 v":             "version",
		"--compression v":         "version",
		"cluster ":                "status drain disconnect",
		"cluster --":              "--admin --json --help",
		"cluster disconnect --":   "--admin --user --client --help",
		"cluster disconnect ":     "",
		"check --backend-hold --": "", // a value
		"check --running --ru":    "--running",
		"--logger ":               "human json",
		"--logger h":              "human",
		"-l ":                     "human json",
		"--logger=":               "--logger=human --logger=json",
		"--logger=j":              "--logger=json",
		"--logger =":              "human json", // as bash splits it
		"--logger = j":            "json",
		"--logger json ver":       "version",
		"--compression=t":         "--compression=true",
		"--backend ":              "", // anything
		"--nothing=":              "",
		"completion ":             "bash zsh fish",
		"completion z":            "zsh",
		"settings":                "", // hidden
	} {
		var got []string
		for _, c := range completions(parser.Model.Node, strings.Split(line, " ")) {
			got = append(got, c.word)
		}
		if strings.Join(got, " ") != want {
			t.Errorf("%q becomes %v, want %s", line, got, want)
		}
	}
	if found := completions(parser.Model.Node, nil); len(found) == 0 || found[1] != (completion{"check", "Try settings, back-end, Redis and other nodes before a start"}) {
		t.Errorf("without a word: %v", found)
	}
}

// A real bash completes by the script.
func TestCompletionInBash(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	script, errs, code := command(t, nil, "", "completion", "bash")
	if code != exitOK || errs != "" {
		t.Fatalf("%d %q", code, errs)
	}
	for line, want := range map[string][]string{
		"logux-proxy che":            {"check"},
		"logux-proxy cluster d":      {"drain", "disconnect"},
		"logux-proxy --logger = h":   {"human"},
		"logux-proxy --backend-hol":  {"--backend-hold"},
		"logux-proxy --backend htt":  nil,
		"logux-proxy completion fis": {"fish"},
	} {
		const ask = `
PATH=; eval "$1"; COMP_WORDS=($3); COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
complete -p logux-proxy >/dev/null || exit 1
_logux_proxy "$2"
printf '%s\n' "${COMPREPLY[@]}"`
		bash := exec.CommandContext(t.Context(), "bash", "--norc", "-euc", ask, "bash", script, self, line)
		bash.Dir, bash.Env, bash.Stderr = t.TempDir(), []string{asProgram + "=1"}, os.Stderr
		out, err := bash.Output()
		if got := strings.Fields(string(out)); err != nil || !slices.Equal(got, want) {
			t.Errorf("%q becomes %v, %v; want %v", line, got, err, want)
		}
	}
}

func TestCompletionScripts(t *testing.T) {
	for shell, script := range completionScripts {
		if out, errs, code := command(t, nil, "", "completion", shell); code != exitOK || out != script || errs != "" || !strings.Contains(out, "complete-words -- ") {
			t.Errorf("%s: %d %q %q", shell, code, out, errs)
		}
	}
	for _, args := range [][]string{{"completion"}, {"completion", "tcsh"}} {
		if out, errs, code := command(t, nil, "", args...); code != exitSetting || out != "" || !strings.Contains(errs, "bash") || !strings.Contains(errs, "fish") {
			t.Errorf("%v: %d %q %q", args, code, out, errs)
		}
	}
}
