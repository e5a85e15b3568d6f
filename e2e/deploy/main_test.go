package deploy

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"logux-proxy/e2e/fleet"
)

// A size is how large the tests are.
type size struct {
	load fleet.Load
	// drain is the time over which a node closes its clients.
	drain    time.Duration
	settings fleet.Settings // of rebalancing
	delay    time.Duration  // the LOGUX_REBALANCE_DELAY in it
	rate     int            // and the LOGUX_REBALANCE_RATE
	timed    bool           // times must hold too
}

var (
	program = flag.String("proxy", "", "examine this program instead of building ./cmd/node")
	small   = size{
		load:  fleet.Load{Clients: 300, Idle: 150, Rate: 100, Channels: 15, Slow: 50, SlowTime: 500 * time.Millisecond},
		drain: 3 * time.Second, delay: 3 * time.Second, rate: 20,
		settings: fleet.Settings{"LOGUX_REBALANCE": "on", "LOGUX_REBALANCE_MIN": "20", "LOGUX_REBALANCE_RATE": "20", "LOGUX_REBALANCE_DELAY": "3s"},
	}
	deploy = size{
		load:  fleet.Load{Clients: 10_000, Idle: 9_000, Rate: 500, Channels: 100, Slow: 50, SlowTime: 500 * time.Millisecond},
		drain: 17 * time.Second, delay: 20 * time.Second, rate: 50, timed: true,
		settings: fleet.Settings{"LOGUX_REBALANCE": "on"},
	}
	of   = small
	seed = rand.Uint64()
)

func TestMain(m *testing.M) {
	flag.Parse()
	switch text := os.Getenv("DEPLOY_LOAD"); text {
	case "", "S":
	case "D":
		of = deploy
	default:
		fmt.Fprintf(os.Stderr, "deploy: DEPLOY_LOAD is %q, want S or D\n", text)
		os.Exit(1)
	}
	os.Exit(run(m))
}

func run(m *testing.M) int {
	if *program != "" {
		path, err := filepath.Abs(*program)
		if err != nil {
			fmt.Fprintln(os.Stderr, "deploy:", err)
			return 1
		}
		*program = path
		return m.Run()
	}
	dir, err := os.MkdirTemp("", "logux-proxy-deploy-")
	if err != nil {
		fmt.Fprintln(os.Stderr, "deploy:", err)
		return 1
	}
	defer func() { _ = os.RemoveAll(dir) }()
	*program = filepath.Join(dir, "logux-proxy")
	if err := fleet.Build("../..", *program, raceDetector); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return m.Run()
}

// start runs a fleet with one Redis.
func start(t *testing.T, nodes int, load fleet.Load, settings fleet.Settings) *fleet.Fleet {
	t.Helper()
	redis := fleet.StartRedis(t, "127.0.0.1")
	return fleet.New(t, fleet.Options{
		Program: *program, Nodes: nodes, Redis: func(int) string { return redis.URL() }, Load: load, Seed: seed, Settings: settings,
	})
}

// together lets a test run beside others where no times are taken.
func together(t *testing.T) {
	t.Helper()
	if !of.timed {
		t.Parallel()
	}
}
