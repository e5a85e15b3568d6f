package session

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"logux-proxy/wire"
)

var rewrite = flag.Bool("rewrite", false, "write what the sessions do into testdata")

// TestScripts plays testdata/*.txt. A script is a list of blocks: a command, perhaps lines of input,
// "----", what the session did. Text before a command that begins with # is a comment.
func TestScripts(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatal("no scripts", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) { playFile(t, file) })
	}
}

func playFile(t *testing.T, file string) {
	t.Helper()
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var got strings.Builder
	d := newDriver(t)
	for block := range strings.SplitSeq(strings.TrimSpace(string(want)), "\n\n") {
		input, _, found := strings.Cut(block, "----")
		got.WriteString(input)
		if found {
			var lines []string
			for line := range strings.Lines(input) {
				if !strings.HasPrefix(line, "#") {
					lines = append(lines, strings.TrimSpace(line))
				}
			}
			got.WriteString("----\n" + d.do(lines[0], lines[1:]))
		}
		got.WriteString("\n")
	}
	played := strings.TrimSpace(got.String()) + "\n"
	if *rewrite {
		if err := os.WriteFile(file, []byte(played), 0o600); err != nil {
			t.Fatal(err)
		}
		return
	}
	if played != string(want) {
		t.Errorf("%s is played differently; run with -rewrite and look at the difference. It is:\n%s", file, played)
	}
}

// A driver is a session with its caller, in a time of its own. It starts at 1,000,000 ms since 1970.
type driver struct {
	t       testing.TB
	cfg     Config
	s       Session
	out     Ready
	decoder wire.Decoder
	mono    time.Duration
	log     strings.Builder
}

const startMono, startWall = time.Hour, 1_000_000

func newDriver(t testing.TB) *driver {
	t.Helper()
	return &driver{t: t, mono: startMono, cfg: testConfig()}
}

func testConfig() Config {
	return Config{
		Server: "server:one", Ping: 20 * time.Second, Timeout: 70 * time.Second, ConnectTimeout: 70 * time.Second,
		AckLimit: 15 * time.Second, MaxPreAuth: 1 << 10, MaxHeaders: 100, MaxToken: 20,
	}
}

func (d *driver) now() Time {
	return Time{Mono: d.mono, Wall: startWall + (d.mono - startMono).Milliseconds()}
}

// do runs one command and returns what the session did.
func (d *driver) do(command string, input []string) string {
	d.log.Reset()
	name, rest, _ := strings.Cut(command, " ")
	switch name {
	case "open":
		d.open(strings.Fields(rest))
	case "wait":
		after, err := time.ParseDuration(rest)
		d.check(err)
		d.mono += after
	case "receive":
		for _, text := range input {
			d.receive(text)
		}
	case "auth":
		d.step(func() { d.s.Authenticated(d.now(), d.answer(rest), &d.out) })
	case "refuse":
		d.step(func() { d.s.Refuse(&d.out) })
	case "settle":
		d.step(func() { d.s.Settled(d.now(), wire.ActionID(rest), &d.out) })
	case "advance":
		d.step(func() { d.s.Advance(d.now(), &d.out) })
	case "pause", "resume":
		d.s.Pause(d.now(), name == "pause")
	case "send":
		n, err := strconv.Atoi(rest)
		d.check(err)
		fmt.Fprintf(&d.log, "sync %d\n", d.s.NextAdded(d.now(), n))
	default:
		d.t.Fatalf("no command %q", name)
	}
	if at := d.s.Deadline(); name != "wait" && at != 0 {
		fmt.Fprintf(&d.log, "due in %v\n", at-d.mono)
	}
	return d.log.String()
}

func (d *driver) check(err error) {
	if err != nil {
		d.t.Fatal(err)
	}
}

func (d *driver) open(options []string) {
	d.mono, d.cfg = startMono, testConfig()
	for _, o := range options {
		switch key, value, _ := strings.Cut(o, "="); key {
		case "development":
			d.cfg.Development = true
		case "subprotocol":
			d.cfg.Subprotocol = wire.RawJSON(value)
		case "supports":
			d.cfg.Supports = func(wire.RawJSON) (wire.RawJSON, bool) { return wire.RawJSON(value), false }
		default:
			d.t.Fatalf("no option %q", o)
		}
	}
	d.s.Init(&d.cfg, d.now())
}

// answer reads the back-end's answer to auth.
func (d *driver) answer(text string) *wire.Answer {
	kind, value, _ := strings.Cut(text, " ")
	switch kind {
	case "authenticated":
		return &wire.Answer{Kind: wire.AnswerAuthenticated, Subprotocol: raw(value)}
	case "denied":
		return &wire.Answer{Kind: wire.AnswerDenied}
	case "error":
		return &wire.Answer{Kind: wire.AnswerError, Details: value}
	case "wrongSubprotocol":
		return &wire.Answer{Kind: wire.AnswerWrongSubprotocol, Supported: raw(value)}
	case "nothing":
		return &wire.Answer{}
	}
	d.t.Fatalf("no answer %q", text)
	return nil
}

func raw(text string) wire.RawJSON {
	if text == "" {
		return nil
	}
	return wire.RawJSON(text)
}

// receive decodes a message and gives it to the session, as a connection does.
func (d *driver) receive(text string) {
	var m wire.Message
	if err := d.decoder.Decode([]byte(text), &m); err != nil {
		fmt.Fprintf(&d.log, "not decoded: %s\n", err.Type)
		return
	}
	d.step(func() { d.s.Receive(d.now(), []byte(text), &m, &d.out) })
}

// step runs one call of the session and writes down what it wants done.
func (d *driver) step(call func()) {
	d.out.Reset()
	call()
	r, w := &d.out, &d.log
	r.Messages(func(_ wire.MessageType, text []byte) { fmt.Fprintf(w, "> %s\n", text) })
	if a := r.Auth; a != nil {
		fmt.Fprintf(w, "ask about %s subprotocol %s", a.NodeID, a.Subprotocol)
		if a.Headers != nil {
			fmt.Fprintf(w, " headers %s", a.Headers)
		}
		if a.HasToken {
			fmt.Fprintf(w, " token %q", a.Token)
		}
		fmt.Fprintln(w)
	}
	for _, a := range r.Actions {
		fmt.Fprintf(w, "action %q time %d subprotocol %s %s", a.Action.ID, a.Action.Time, a.Action.Subprotocol, a.Action.Body)
		if a.Denied {
			fmt.Fprint(w, " denied")
		}
		if a.WrongChannel {
			fmt.Fprint(w, " wrong channel")
		} else if a.Subscription != nil {
			fmt.Fprintf(w, " channel %q filter %q", a.Subscription.Channel, a.Subscription.Filter)
		}
		fmt.Fprintln(w)
	}
	if r.Confirmed != 0 {
		fmt.Fprintf(w, "confirmed %d\n", r.Confirmed)
	}
	if r.Close != CloseNone {
		fmt.Fprintf(w, "close %s (%s)\n", closeNames[r.Close], r.Cause)
	}
	for _, text := range r.Replay {
		d.receive(string(text))
	}
}

var closeNames = map[Close]string{
	CloseError: "error", CloseTimeout: "timeout", CloseNoConnect: "no connect", CloseDenied: "denied",
	CloseUnavailable: "unavailable", CloseBruteforce: "bruteforce",
}
