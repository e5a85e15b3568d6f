package cluster

import (
	"os"
	"testing"

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
