package e2e

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"testing"
)

// program is the proxy under test.
var program = flag.String("proxy", "", "examine this program instead of building ./cmd/node")

func TestMain(m *testing.M) {
	flag.DurationVar(&patience, "patience", patience, "how long to wait for something that must come")
	flag.Parse()
	// The tests mostly wait for other processes, so more of them run at once than there are processors.
	if f := flag.Lookup("test.parallel"); f.Value.String() == fmt.Sprint(runtime.GOMAXPROCS(0)) {
		if err := f.Value.Set("24"); err != nil {
			panic(err)
		}
	}
	os.Exit(run(m))
}

func run(m *testing.M) int {
	if _, err := os.Stat("js/node_modules/ws"); err != nil {
		fmt.Fprintln(os.Stderr, "e2e: the JavaScript clients are not installed; run e2e/install.sh test")
		return 1
	}
	if *program != "" {
		return m.Run()
	}
	dir, err := os.MkdirTemp("", "logux-proxy-e2e-")
	if err != nil {
		fmt.Fprintln(os.Stderr, "e2e:", err)
		return 1
	}
	defer func() {
		if err := os.RemoveAll(dir); err != nil {
			fmt.Fprintln(os.Stderr, "e2e:", err)
		}
	}()
	*program = filepath.Join(dir, "logux-proxy")
	args := []string{"build", "-o", *program}
	if raceDetector {
		args = append(args, "-race")
	}
	build := exec.Command("go", append(args, "../cmd/node")...)
	build.Stdout, build.Stderr = os.Stderr, os.Stderr
	if err := build.Run(); err != nil {
		fmt.Fprintln(os.Stderr, "e2e: building the proxy:", err)
		return 1
	}
	return m.Run()
}
