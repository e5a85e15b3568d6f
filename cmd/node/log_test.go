package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

var update = flag.Bool("update", false, "write the golden files and the README's table again")

// golden compares text with testdata/name.
func golden(t *testing.T, name, text string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if text != string(want) {
		t.Errorf("%s differs; -update writes it again. Got:\n%s\nwant:\n%s", name, text, want)
	}
}

// atNoon gives all entries one time.
type atNoon struct{}

func (atNoon) Now() time.Time                         { return time.Date(2026, 11, 22, 12, 0, 0, 0, time.Local) }
func (atNoon) NewTicker(d time.Duration) *time.Ticker { return time.NewTicker(d) }

// logTo returns a logger of the given form and what it wrote.
func logTo(form string, level zapcore.Level, color bool) (*zap.Logger, *bytes.Buffer) {
	var out bytes.Buffer
	log := newLogger(&Config{Logger: form, LogLevel: level}, zapcore.AddSync(&out), color)
	return log.WithOptions(zap.WithClock(atNoon{})), &out
}

// everyday are entries as the packages write them, and everything that a field can be.
func everyday(log *zap.Logger) {
	log.Info("Client was connected", zap.String("nodeId", "10:uuid:tab"), zap.Stringer("ipAddress", netip.MustParseAddr("127.0.0.1")))
	client := log.With(zap.String("nodeId", "10:uuid:tab"))
	client.Info("Action was processed", zap.String("actionId", "1487805099387 10:uuid:tab 0"), zap.String("type", "posts/add"), zap.Duration("latency", 12345678))
	client.Warn("Action was undone", zap.String("reason", "denied"), zap.Strings("channels", []string{"posts", "users/10"}),
		zap.String(hintKey, "The back-end answered forbidden. If that is not what you expected, look at its log:\nit has the same action ID."))
	log.Error("Back-end cannot be reached", zap.String("url", "http://127.0.0.1:3000/"), zap.Error(errors.New("dial tcp: connection refused")), zap.Int("status", 0))
	log.Debug("Details", zap.Any("meta", map[string]any{"time": 1, "id": "1 10:uuid 0", "users": []string{"10"}}), zap.Float64("share", 0.25), zap.Bool("tls", true), zap.Time("validUntil", time.Date(2027, 1, 1, 0, 0, 0, 0, time.Local)))
	log.Info("Nothing more to say")
}

func TestHumanLog(t *testing.T) {
	for name, color := range map[string]bool{"human.txt": false, "human-color.txt": true} {
		log, out := logTo("human", zapcore.DebugLevel, color)
		everyday(log)
		golden(t, name, out.String())
	}
}

func TestJSONLog(t *testing.T) {
	log, out := logTo("json", zapcore.DebugLevel, true)
	everyday(log)
	for line := range strings.Lines(out.String()) {
		var entry struct {
			Time  time.Time
			Level string
			Msg   string
		}
		if err := json.Unmarshal([]byte(line), &entry); err != nil {
			t.Fatalf("%v in %s", err, line)
		}
		if !entry.Time.Equal(atNoon{}.Now()) || entry.Level == "" || entry.Msg == "" || strings.Contains(line, "\x1b") {
			t.Errorf("incomplete: %s", line)
		}
	}
	if n := strings.Count(out.String(), "\n"); n != 6 {
		t.Errorf("%d lines for 6 entries", n)
	}
}

func TestLogLevel(t *testing.T) {
	for _, form := range []string{"human", "json"} {
		for level := zapcore.DebugLevel; level <= zapcore.ErrorLevel; level++ {
			log, out := logTo(form, level, false)
			log.Debug("debug-entry")
			log.Info("info-entry")
			log.With(zap.Int("a", 1)).Warn("warn-entry")
			log.Error("error-entry")
			if got, want := strings.Count(out.String(), "-entry"), int(zapcore.ErrorLevel-level)+1; got != want {
				t.Errorf("%s at %s: %d entries, want %d", form, level, got, want)
			}
		}
	}
}

type stubborn struct{ text string }

func (s stubborn) String() string { return s.text }
func (s stubborn) Error() string  { return s.text }

// New lines, ANSI sequences and endless texts of a peer neither forge an entry nor reach the terminal.
func TestLogOfHostileText(t *testing.T) {
	hostile := "\r\n INFO  forged\x1b[2J\x00\u202e\u009b" + strings.Repeat("x", 64<<10) + "\xff"
	var nobody *stubborn
	fields := []zap.Field{
		zap.String("string", hostile), zap.ByteString("bytes", []byte(hostile)), zap.Error(errors.New(hostile)),
		zap.Stringer("stringer", stubborn{hostile}), zap.Any("any", map[string]string{"a": hostile}), zap.Strings("strings", []string{hostile, hostile}),
		zap.Any(hostile[:40], "as key"), zap.Stringer("nil", nobody), zap.NamedError("wrapped", fmt.Errorf("x: %w", stubborn{hostile})),
		zap.String(hintKey, "as hint "+hostile),
	}
	for _, form := range []string{"human", "json"} {
		log, out := logTo(form, zapcore.DebugLevel, false)
		log.With(fields...).Info(hostile, fields...)
		text := out.String()
		if len(text) > 2*len(fields)*6*maxLogField {
			t.Errorf("%s: %d bytes", form, len(text))
		}
		for _, bad := range []string{"\x1b", "\x00", "\r"} {
			if strings.Contains(text, bad) {
				t.Errorf("%s: %q is written raw", form, bad)
			}
		}
		switch form {
		case "json":
			if strings.Count(text, "\n") != 1 || !json.Valid([]byte(text)) {
				t.Errorf("json: not one entry: %.200q", text)
			}
		case "human":
			for i, line := range strings.Split(strings.TrimRight(text, "\n"), "\n") {
				if i > 0 && !strings.HasPrefix(line, humanIndent) {
					t.Errorf("human: a line of its own: %.80q", line)
				}
			}
			if strings.ContainsAny(text, "\u202e\u009b") {
				t.Error("human: a control character is written raw")
			}
		}
	}
}

func TestHumanNames(t *testing.T) {
	for key, want := range map[string]string{
		"nodeId": "Node ID", "ipAddress": "IP address", "controlListen": "Control listen", "retry_after": "Retry after", "pid": "PID",
		"url": "URL", "x": "X", "": "", "nodeID": "Node ID", "élan": "Élan",
	} {
		if got := humanName(key); got != want {
			t.Errorf("%q is %q, want %q", key, got, want)
		}
	}
}
