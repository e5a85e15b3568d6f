package fleet

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// A Change replaces a text that a source file holds once.
type Change struct{ File, Old, New string }

// Build compiles the program of the module at root into path, with changes that stay outside of its sources.
func Build(root, path string, race bool, changes ...Change) error {
	root, err := filepath.Abs(root)
	if err != nil {
		return fmt.Errorf("fleet: %w", err)
	}
	args := []string{"build", "-o", path}
	if race {
		args = append(args, "-race")
	}
	if len(changes) > 0 {
		overlay, err := overlay(root, path+".overlay", changes)
		if err != nil {
			return err
		}
		args = append(args, "-overlay", overlay)
	}
	cmd := exec.Command("go", append(args, "./cmd/node")...)
	cmd.Dir = root
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("fleet: building: %w\n%s", err, out)
	}
	return nil
}

// overlay writes changed copies of files into dir, and the list of them that the compiler reads.
func overlay(root, dir string, changes []Change) (path string, err error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", fmt.Errorf("fleet: %w", err)
	}
	replace := make(map[string]string)
	texts := make(map[string]string)
	for i, c := range changes {
		file := filepath.Join(root, c.File)
		text, seen := texts[file]
		if !seen {
			data, err := os.ReadFile(file)
			if err != nil {
				return "", fmt.Errorf("fleet: %w", err)
			}
			text = string(data)
			replace[file] = filepath.Join(dir, fmt.Sprintf("%d-%s", i, filepath.Base(file)))
		}
		if n := strings.Count(text, c.Old); n != 1 {
			return "", fmt.Errorf("fleet: %s holds the text to change %d times, want once:\n%s", c.File, n, c.Old)
		}
		texts[file] = strings.Replace(text, c.Old, c.New, 1)
		if err := os.WriteFile(replace[file], []byte(texts[file]), 0o600); err != nil {
			return "", fmt.Errorf("fleet: %w", err)
		}
	}
	list, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		return "", fmt.Errorf("fleet: %w", err)
	}
	path = filepath.Join(dir, "overlay.json")
	if err := os.WriteFile(path, list, 0o600); err != nil {
		return "", fmt.Errorf("fleet: %w", err)
	}
	return path, nil
}

// MustBuild is Build into the test's own directory.
func MustBuild(t testing.TB, root string, race bool, changes ...Change) (path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "logux-proxy")
	if err := Build(root, path, race, changes...); err != nil {
		t.Fatal(err)
	}
	return path
}
