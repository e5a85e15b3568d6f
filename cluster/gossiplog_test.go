package cluster

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"
)

func TestGossipLog(t *testing.T) {
	bubble(t, func(t *testing.T) {
		core, logs := observer.New(zap.DebugLevel)
		l := newGossipLog(zap.New(core))
		l.Printf("[DEBUG] memberlist: a %d", 1)
		l.Printf("[INFO] memberlist: b")
		l.Printf("[WARN] memberlist: c")
		l.Printf("[ERR] memberlist: d\x00\xff")
		l.Printf("e %s", strings.Repeat("x", 1000))
		want := []struct {
			level zapcore.Level
			text  string
		}{{zap.DebugLevel, "a 1"}, {zap.DebugLevel, "b"}, {zap.WarnLevel, "c"}, {zap.WarnLevel, "d\x00?"}, {zap.WarnLevel, "e " + strings.Repeat("x", 510)}}
		for i, e := range logs.TakeAll() {
			if e.Level != want[i].level || e.ContextMap()["text"] != want[i].text || e.Message != "Gossip" {
				t.Errorf("%d: %s %v", i, e.Level, e.ContextMap())
			}
		}
		// What strangers send does not fill the disk.
		for i := range 100_000 {
			l.Printf("[ERR] memberlist: stranger %d", i)
		}
		if n := logs.Len(); n > gossipBurst {
			t.Errorf("%d lines were written", n)
		}
		written := len(logs.TakeAll())
		pass(time.Second)
		l.Printf("[ERR] memberlist: again")
		e := logs.TakeAll()
		if len(e) != 1 || fmt.Sprint(e[0].ContextMap()["linesDropped"]) != fmt.Sprint(100_000-written) {
			t.Errorf("%v", e)
		}
	})
}

func TestGossipLogBelowItsLevel(t *testing.T) {
	core, logs := observer.New(zap.ErrorLevel)
	newGossipLog(zap.New(core)).Printf("[ERR] memberlist: x")
	if logs.Len() != 0 {
		t.Error("a line was written")
	}
}
