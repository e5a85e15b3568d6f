package cluster

import (
	"bytes"
	"log"
	"strings"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"golang.org/x/time/rate"
)

// What strangers send to the gossip port is logged line by line by memberlist, so that they decide how much
// is written: beyond gossipLines a second lines are counted and dropped.
const (
	gossipLines   = 5
	gossipBurst   = 20
	gossipLineMax = 512 // bytes of a line that are kept
)

// A gossipLog is the writer behind memberlist's log.Logger.
type gossipLog struct {
	log     *zap.Logger
	limit   *rate.Limiter
	dropped atomic.Int64 // since the last line that was written
}

func newGossipLog(to *zap.Logger) *log.Logger {
	g := &gossipLog{log: to, limit: rate.NewLimiter(gossipLines, gossipBurst)}
	return log.New(g, "", 0)
}

// gossipLevels are the levels as memberlist writes them, and as we log them: what it calls an error is
// mostly a peer's mistake or a stranger's packet.
var gossipLevels = []struct {
	mark  string
	level zapcore.Level
}{
	{"[DEBUG] ", zap.DebugLevel},
	{"[INFO] ", zap.DebugLevel},
	{"[WARN] ", zap.WarnLevel},
	{"[ERR] ", zap.WarnLevel},
	{"[ERROR] ", zap.WarnLevel},
}

// Write implements io.Writer for one line of memberlist's log.
func (g *gossipLog) Write(line []byte) (int, error) {
	text, level := bytes.TrimRight(line, "\n"), zap.WarnLevel
	for _, l := range gossipLevels {
		if rest, ok := bytes.CutPrefix(text, []byte(l.mark)); ok {
			text, level = rest, l.level
			break
		}
	}
	entry := g.log.Check(level, "Gossip")
	if entry == nil {
		return len(line), nil
	}
	if !g.limit.AllowN(time.Now(), 1) {
		g.dropped.Add(1)
		return len(line), nil
	}
	text = bytes.TrimPrefix(text, []byte("memberlist: "))
	text = text[:min(len(text), gossipLineMax)]
	fields := []zap.Field{zap.String("text", strings.ToValidUTF8(string(text), "?"))}
	if n := g.dropped.Swap(0); n > 0 {
		fields = append(fields, zap.Int64("linesDropped", n))
	}
	entry.Write(fields...)
	return len(line), nil
}
