package main

import (
	"bytes"
	"maps"
	"net/http"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// A standard output that nobody reads costs no request: every one is answered although the program
// cannot write a line, and the lines are there when somebody reads at last.
func TestStuckOutput(t *testing.T) {
	env := with("LOGUX_CONTROL_MASK", "192.0.2.0/24") // every control request is worth a line
	maps.Copy(env, anyPort)
	p := start(t, env)
	size, err := unix.FcntlInt(p.stdout.Fd(), unix.F_GETPIPE_SZ, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.stdout.Write(bytes.Repeat([]byte{'\n'}, size)); err != nil {
		t.Fatal(err)
	}
	for range 100 {
		refusedCall(t, p)
	}
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	rest := p.rest()
	if err := p.cmd.Wait(); err != nil {
		t.Error(err)
	}
	for _, text := range []string{"LOGUX_CONTROL_MASK", "Logux proxy stopped"} {
		if !strings.Contains(rest, text) {
			t.Errorf("%q is missing in the %d bytes of log", text, len(rest))
		}
	}
}

// refusedCall makes p write a line, now and then.
func refusedCall(t *testing.T, p running) {
	t.Helper()
	defer http.DefaultClient.CloseIdleConnections()
	response, err := http.Post(strings.TrimSuffix(p.health, "health"), "application/json", strings.NewReader("{}"))
	if err != nil {
		t.Fatal(err)
	}
	if err := response.Body.Close(); err != nil || response.StatusCode != http.StatusForbidden {
		t.Fatal(response.Status, err)
	}
}

// A reader of the log that goes away costs lines, which are counted, and not the proxy.
func TestBrokenOutput(t *testing.T) {
	env := with("LOGUX_CONTROL_MASK", "192.0.2.0/24")
	maps.Copy(env, anyPort)
	p := start(t, env)
	if err := p.reader.Close(); err != nil {
		t.Fatal(err)
	}
	refusedCall(t, p)
	for lost := "0"; lost == "0"; { // the program has a deadline
		_, text, _ := strings.Cut(page(t, p.admin+"metrics"), "\nlogux_log_dropped_lines_total ")
		lost, _, _ = strings.Cut(text, "\n")
	}
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Wait(); err != nil {
		t.Error(err)
	}
}
