package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/joho/godotenv"
)

const (
	envPrefix = "LOGUX_"
	envFile   = ".env"
)

// An environment is the variables of the process and, where it has none, those of a .env file.
type environment map[string]string

// readEnvironment merges environ (as os.Environ gives it) with the .env file of dir, if there is
// one. The process's own variables win. An empty variable is the same as none.
func readEnvironment(environ []string, dir string) (environment, error) {
	env, err := readEnvFile(filepath.Join(dir, envFile))
	if err != nil {
		return nil, err
	}
	for _, pair := range environ {
		if name, value, _ := strings.Cut(pair, "="); value != "" {
			env[name] = value
		}
	}
	for name, value := range env {
		if value == "" || isServiceLink(name, value) {
			delete(env, name)
		}
	}
	return env, nil
}

// readEnvFile keeps the reader's own messages back: they quote the file, which holds secrets.
func readEnvFile(path string) (environment, error) {
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return environment{}, nil
	}
	if err != nil {
		return nil, &settingError{Wrong: envFile + ": cannot be read: " + reason(err), Mend: "mend its permissions or remove it"}
	}
	values, err := godotenv.UnmarshalBytes(text)
	if err != nil {
		return nil, &settingError{
			Wrong: fmt.Sprintf("%s: line %d is unreadable", envFile, badLine(string(text))),
			Mend:  "write each line as NAME=value, and values with spaces or $ in single quotes",
		}
	}
	return values, nil
}

// badLine finds the line at which text stops being readable: the one after the longest readable
// beginning.
func badLine(text string) int {
	lines := strings.SplitAfter(text, "\n")
	for n := len(lines); n > 0; n-- {
		if _, err := godotenv.Unmarshal(strings.Join(lines[:n], "")); err == nil {
			return n + 1
		}
	}
	return 1
}

// reason is what an error of the file system says without the path, which the message has already.
func reason(err error) string {
	if path := (*fs.PathError)(nil); errors.As(err, &path) {
		return path.Err.Error()
	}
	return err.Error()
}

// serviceLink matches what Kubernetes puts into every container for a Service whose name begins
// with "logux": those variables are not the operator's.
var serviceLink = regexp.MustCompile(`^LOGUX_([A-Z0-9_]+_)?(SERVICE_HOST|SERVICE_PORT(_[A-Z0-9_]+)?|PORT_[0-9]+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)$`)

// isServiceLink also knows LOGUX_PORT=tcp://10.0.0.1:80, which a Service called "logux" makes.
func isServiceLink(name, value string) bool {
	if !strings.HasPrefix(name, envPrefix) {
		return false
	}
	transport, _, _ := strings.Cut(value, "://")
	return serviceLink.MatchString(name) ||
		strings.HasSuffix(name, "_PORT") && slices.Contains([]string{"tcp", "udp", "sctp"}, transport)
}

// unknownVariables warns of LOGUX_ variables that no setting reads, with the nearest name.
func (env environment) unknownVariables(known []string) []Warning {
	var warnings []Warning
	for name := range env {
		if !strings.HasPrefix(name, envPrefix) || slices.Contains(known, name) {
			continue
		}
		hint := "Look for it in --help, or remove it."
		if near := nearest(name, known); near != "" {
			hint = "Did you mean " + near + "?"
		}
		warnings = append(warnings, Warning{Message: "Nothing reads the variable " + cut(name, 100), Hint: hint})
	}
	slices.SortFunc(warnings, func(a, b Warning) int { return strings.Compare(a.Message, b.Message) })
	return warnings
}

// nearest is the known name with the fewest letters to change, or "" when none is near.
func nearest(name string, known []string) string {
	best, fewest := "", 4
	for _, k := range known {
		if d := editDistance(name, k, fewest); d < fewest {
			best, fewest = k, d
		}
	}
	return best
}

// editDistance is Levenshtein's; it answers most when the lengths alone say that it is no less.
func editDistance(a, b string, most int) int {
	if len(a)-len(b) >= most || len(b)-len(a) >= most {
		return most
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			changed := diagonal
			if a[i] != b[j] {
				changed++
			}
			diagonal = row[j+1]
			row[j+1] = min(changed, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}

// cut shortens text to at most n bytes.
func cut(text string, n int) string {
	if len(text) <= n {
		return text
	}
	return strings.ToValidUTF8(text[:n-len("…")], "") + "…"
}
