package cluster

import (
	"os"
	"runtime"
	"testing"
	"testing/synctest"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	if join := os.Getenv(memberEnv); join != "" {
		runMember(join)
		return
	}
	goleak.VerifyTestMain(m,
		// go-redis goes on to look for a server that is away, for a second after Close.
		goleak.IgnoreAnyFunction("github.com/redis/go-redis/v9/internal/pool.(*ConnPool).tryDial"))
}

// bubble runs f with time that does not pass by itself. It does so on one processor: two that run timers of a bubble
// at once can break the race detector (golang/go#78156).
func bubble(t *testing.T, f func(*testing.T)) {
	t.Helper()
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	synctest.Test(t, f)
}
