package faults

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"testing"
	"time"

	"logux-proxy/e2e/fleet"
)

var (
	// program is the proxy under test.
	program = flag.String("proxy", "", "examine this program instead of building ./cmd/node")
	// rounds is how often each fault comes.
	rounds = 2
	// load is what goes on meanwhile.
	load = fleet.LoadS
	// seed is of the random moments.
	seed = rand.Uint64()
)

const root = "../.."

func TestMain(m *testing.M) {
	flag.Parse()
	if err := settings(); err != nil {
		fmt.Fprintln(os.Stderr, "faults:", err)
		os.Exit(1)
	}
	// The tests mostly wait, so that more of them run at once than there are processors; under the greater load they do not.
	parallel := "4"
	if load.Clients > fleet.LoadS.Clients {
		parallel = "1"
	}
	if f := flag.Lookup("test.parallel"); f.Value.String() == strconv.Itoa(runtime.GOMAXPROCS(0)) {
		if err := f.Value.Set(parallel); err != nil {
			panic(err)
		}
	}
	os.Exit(run(m))
}

// settings reads FAULT_ROUNDS, FAULT_LOAD and FAULT_SEED.
func settings() (err error) {
	if text := os.Getenv("FAULT_ROUNDS"); text != "" {
		if rounds, err = strconv.Atoi(text); err != nil || rounds < 1 {
			return fmt.Errorf("FAULT_ROUNDS is %q, want a number", text)
		}
	}
	if text := os.Getenv("FAULT_SEED"); text != "" {
		if seed, err = strconv.ParseUint(text, 10, 64); err != nil {
			return fmt.Errorf("FAULT_SEED is %q, want a number", text)
		}
	}
	switch text := os.Getenv("FAULT_LOAD"); text {
	case "", "S":
	case "A":
		load = fleet.LoadA
	default:
		return fmt.Errorf("FAULT_LOAD is %q, want S or A", text)
	}
	return nil
}

func run(m *testing.M) int {
	if *program != "" {
		path, err := filepath.Abs(*program)
		if err != nil {
			fmt.Fprintln(os.Stderr, "faults:", err)
			return 1
		}
		*program = path
		return m.Run()
	}
	dir, err := os.MkdirTemp("", "logux-proxy-faults-")
	if err != nil {
		fmt.Fprintln(os.Stderr, "faults:", err)
		return 1
	}
	defer func() { _ = os.RemoveAll(dir) }()
	*program = filepath.Join(dir, "logux-proxy")
	if err := fleet.Build(root, *program, raceDetector); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return m.Run()
}

// steady is how long a load goes on where nothing else happens.
func steady() time.Duration { return time.Duration(rounds) * 4 * time.Second }
