package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// asProgram in the environment makes the test binary the program.
const asProgram = "LOGUX_PROXY_RUN_AS_PROGRAM"

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" {
		main()
		return
	}
	goleak.VerifyTestMain(m)
}

// program is the program in an empty directory, with nothing in its environment but env.
func program(t *testing.T, env environment, args ...string) *exec.Cmd {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	t.Cleanup(cancel)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(ctx, self, args...)
	cmd.Dir = t.TempDir()
	cmd.Env = []string{asProgram + "=1"}
	for name, value := range env {
		cmd.Env = append(cmd.Env, name+"="+value)
	}
	return cmd
}

// A wrong setting ends the start with one line on stderr that names it, and nothing else.
func TestWrongSettingStopsTheStart(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = taken.Close() }) // after the parallel subtests
	_, port, err := net.SplitHostPort(taken.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	free := func(pairs ...string) environment {
		return with(append([]string{"LOGUX_PORT", "0", "LOGUX_ADMIN_ADDR", "off", "LOGUX_UNKNOWN", "worth a warning"}, pairs...)...)
	}
	for name, c := range map[string]struct {
		env  environment
		args []string
		say  []string
	}{
		"port":              {env: free("LOGUX_PORT", "seven"), say: []string{"LOGUX_PORT", `"seven"`, "65535"}},
		"no back-end":       {env: free("LOGUX_BACKEND", ""), say: []string{"LOGUX_BACKEND", "not set", "http://"}},
		"flag":              {env: free(), args: []string{"--backend-hold", "60"}, say: []string{"LOGUX_BACKEND_HOLD", "--backend-hold", "30s"}},
		"unknown flag":      {env: free(), args: []string{"--backend-hodl", "60s"}, say: []string{"--backend-hodl", "--backend-hold"}},
		"missing file":      {env: free("LOGUX_CERT", "/nowhere/a", "LOGUX_KEY", "/nowhere/b"), say: []string{"LOGUX_CERT", "/nowhere/a", "no such file"}},
		"Redis":             {env: free("LOGUX_REDIS", "127.0.0.1:6379"), say: []string{"LOGUX_REDIS", "redis://"}},
		"gossip key":        {env: free("LOGUX_REDIS", "redis://127.0.0.1:1", "LOGUX_GOSSIP_ADDR", "127.0.0.1:0", "LOGUX_GOSSIP_KEY", "AAAAAAAAAAAAAAAAAAAA"), say: []string{"LOGUX_GOSSIP_KEY", "15 bytes", "openssl"}},
		"port taken":        {env: free("LOGUX_PORT", port), say: []string{"LOGUX_PORT", "another program"}},
		"admin port taken":  {env: free("LOGUX_ADMIN_ADDR", "127.0.0.1:"+port), say: []string{"LOGUX_ADMIN_ADDR", "another program"}},
		"control on taken":  {env: free("LOGUX_CONTROL_ADDR", "127.0.0.1:"+port), say: []string{"LOGUX_CONTROL_ADDR", "another program"}},
		"foreign address":   {env: free("LOGUX_HOST", "192.0.2.1"), say: []string{"LOGUX_HOST", "192.0.2.1"}},
		"unresolvable host": {env: free("LOGUX_HOST", "nowhere.invalid"), say: []string{"LOGUX_HOST", "nowhere.invalid"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var stdout, stderr bytes.Buffer
			cmd := program(t, c.env, c.args...)
			cmd.Stdout, cmd.Stderr = &stdout, &stderr
			var exit *exec.ExitError
			if err := cmd.Run(); !errors.As(err, &exit) || exit.ExitCode() != exitSetting {
				t.Fatalf("ended with %v\n%s%s", err, &stdout, &stderr)
			}
			text := stderr.String()
			if strings.Count(text, "\n") != 1 || strings.Contains(text, "goroutine") || stdout.Len() > 0 || strings.Contains(text, enough["LOGUX_CONTROL_SECRET"]) {
				t.Errorf("not one line: %s%s", &stdout, text)
			}
			for _, part := range c.say {
				if !strings.Contains(text, part) {
					t.Errorf("%q is missing in %s", part, text)
				}
			}
		})
	}
}

func TestHelpAndVersion(t *testing.T) {
	for arg, parts := range map[string][]string{
		"--help":    {"LOGUX_CONTROL_SECRET=secret logux-proxy --backend", "--backend-hold", "Default: 60s, in development 0s.", "-l, --logger"},
		"version":   {"logux-proxy ", "go1."},
		"--version": nil,
	} {
		out, err := program(t, nil, arg).Output()
		if (err == nil) != (parts != nil) {
			t.Errorf("%s: %v", arg, err)
		}
		for _, part := range parts {
			if !strings.Contains(string(out), part) {
				t.Errorf("%s: %q is missing in\n%s", arg, part, out)
			}
		}
		if strings.Contains(string(out), "settings-table") {
			t.Error("the hidden command is in the help")
		}
	}
	out, err := program(t, nil, "settings-table").Output()
	if err != nil || string(out) != settingsTable() {
		t.Errorf("settings-table: %v\n%s", err, out)
	}
}

// running is a started program and the addresses that its first entry tells.
type running struct {
	cmd    *exec.Cmd
	health string
	listen string // ws://
	gossip string // "" without
	admin  string
	stdout *os.File      // what it writes to, until rest
	reader *os.File      // the other end
	rest   func() string // the log after that entry; ends when the program does
}

func start(t *testing.T, env environment) running {
	t.Helper()
	cmd := program(t, env)
	cmd.Stderr = os.Stderr
	stdout, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = stdout.Close() })
	cmd.Stdout = write
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(stdout)
	for lines.Scan() {
		var entry struct{ Msg, HealthCheck, Listen, Gossip, Admin string }
		if err := json.Unmarshal(lines.Bytes(), &entry); err != nil {
			t.Fatalf("%v in %s", err, lines.Text())
		}
		if entry.HealthCheck != "" {
			return running{cmd, entry.HealthCheck, entry.Listen, entry.Gossip, entry.Admin, write, stdout, func() string {
				if err := write.Close(); err != nil {
					t.Error(err)
				}
				var rest strings.Builder
				for lines.Scan() {
					rest.WriteString(lines.Text() + "\n")
				}
				return rest.String()
			}}
		}
	}
	t.Fatal("the program ended without listening")
	return running{}
}

// stop asks the program to end, and returns the rest of its log.
func (p running) stop(t *testing.T) string {
	t.Helper()
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	rest := p.rest()
	if err := p.cmd.Wait(); err != nil {
		t.Errorf("%v; the log ends with %s", err, rest)
	}
	return rest
}

// get answers the status of a page.
func get(t *testing.T, url string) int {
	t.Helper()
	status, _ := fetch(t, url)
	return status
}

// page answers the text of a page.
func page(t *testing.T, url string) string {
	t.Helper()
	_, text := fetch(t, url)
	return text
}

func fetch(t *testing.T, url string) (status int, text string) {
	t.Helper()
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	response, err := client.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(response.Body)
	if err := errors.Join(err, response.Body.Close()); err != nil {
		t.Error(err)
	}
	return response.StatusCode, string(body)
}

var anyPort = with("LOGUX_PORT", "0", "LOGUX_ADMIN_ADDR", "127.0.0.1:0", "LOGUX_LOGGER", "json")

// SIGTERM and Ctrl-C end the program in order, with the code 0 and the last lines in the log.
func TestCleanStop(t *testing.T) {
	for _, signal := range []os.Signal{syscall.SIGTERM, syscall.SIGINT} {
		p := start(t, anyPort)
		for _, page := range []string{p.health, p.admin + "healthz", p.admin + "readyz", p.admin + "metrics"} {
			if status := get(t, page); status != http.StatusOK {
				t.Errorf("%s: %d", page, status)
			}
		}
		if err := p.cmd.Process.Signal(signal); err != nil {
			t.Fatal(err)
		}
		rest := p.rest()
		if err := p.cmd.Wait(); err != nil {
			t.Errorf("%v: %v", signal, err)
		}
		if !strings.Contains(rest, "Logux proxy stopped") {
			t.Errorf("%v: the log ends with %s", signal, rest)
		}
	}
}

// While it drains the program is not ready; a second signal ends it at once, and not with 0.
func TestSecondSignal(t *testing.T) {
	env := with("LOGUX_DRAIN_GRACE", "10m")
	maps.Copy(env, anyPort)
	p := start(t, env)
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	for status := http.StatusOK; status == http.StatusOK; { // the program has a deadline
		status = get(t, p.admin+"readyz")
	}
	ended := make(chan error)
	go func() {
		p.rest()
		ended <- p.cmd.Wait()
	}()
	again := time.NewTicker(sameSignal) // until one is late enough to be the second
	defer again.Stop()
	for {
		select {
		case <-again.C:
			_ = p.cmd.Process.Signal(syscall.SIGTERM) // it may be gone
		case err := <-ended:
			var exit *exec.ExitError
			if !errors.As(err, &exit) || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGTERM {
				t.Errorf("ended with %v", err)
			}
			return
		}
	}
}

// One signal delivered twice, as timeout(1) does, is one signal. The two are delivered together when the
// program, stopped meanwhile, goes on.
func TestDoubledSignal(t *testing.T) {
	p := start(t, anyPort)
	for _, signal := range []os.Signal{syscall.SIGSTOP, syscall.SIGINT, syscall.SIGTERM, syscall.SIGCONT} {
		if err := p.cmd.Process.Signal(signal); err != nil {
			t.Fatal(err)
		}
	}
	rest := p.rest()
	if err := p.cmd.Wait(); err != nil || !strings.Contains(rest, "Logux proxy stopped") {
		t.Errorf("%v; the log ends with %s", err, rest)
	}
}
