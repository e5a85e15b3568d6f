package main

import (
	"bytes"
	"errors"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"strings"
	"testing"
)

// command runs the program to its end.
func command(t *testing.T, env environment, stdin string, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	var out, errs bytes.Buffer
	cmd := program(t, env, args...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(stdin), &out, &errs
	var exit *exec.ExitError
	if err := cmd.Run(); errors.As(err, &exit) {
		code = exit.ExitCode()
	} else if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{out.String(), errs.String()} {
		if secret := env["LOGUX_CONTROL_SECRET"]; secret != "" && strings.Contains(text, secret) {
			t.Errorf("%v: the secret is in %q", args, text)
		}
	}
	return out.String(), errs.String(), code
}

// kill ends a program out of turn.
func (p running) kill() {
	_ = p.cmd.Process.Kill()
	p.rest()
	_ = p.cmd.Wait()
}

func TestHealthOfANode(t *testing.T) {
	p := start(t, anyPort)
	defer p.kill()
	for _, args := range [][]string{{"health"}, {"health", "--ready"}} {
		out, errs, code := command(t, environment{"LOGUX_ADMIN_ADDR": strings.Trim(strings.TrimPrefix(p.admin, "http:"), "/")}, "", args...)
		if code != exitOK || out != "ok\n" || errs != "" {
			t.Errorf("%v: %d %q %q", args, code, out, errs)
		}
	}
	if out, errs, code := command(t, nil, "", "health", "--admin", p.admin); code != exitOK || out != "ok\n" || errs != "" {
		t.Errorf("by its URL: %d %q %q", code, out, errs)
	}
}

// Without an admin listener the public port is asked, also when it speaks TLS with a certificate for another name.
func TestHealthByThePublicPort(t *testing.T) {
	f := newFiles(t)
	for name, env := range map[string]environment{
		"plain": with("LOGUX_PORT", "0", "LOGUX_ADMIN_ADDR", "off", "LOGUX_LOGGER", "json"),
		"TLS":   with("LOGUX_PORT", "0", "LOGUX_ADMIN_ADDR", "off", "LOGUX_LOGGER", "json", "LOGUX_CERT", f.cert, "LOGUX_KEY", f.key),
	} {
		p := start(t, env)
		_, port, _ := strings.Cut(strings.TrimSuffix(p.health, "/health"), "127.0.0.1:")
		env["LOGUX_PORT"] = port
		if out, errs, code := command(t, env, "", "health"); code != exitOK || out != "ok\n" || errs != "" {
			t.Errorf("%s: %d %q %q", name, code, out, errs)
		}
		if _, errs, code := command(t, env, "", "health", "--ready"); code != exitSetting || !strings.Contains(errs, "LOGUX_ADMIN_ADDR is off") {
			t.Errorf("%s: %d %q", name, code, errs)
		}
		p.kill()
	}
}

func TestNotHealthy(t *testing.T) {
	serve := func(status int, text string) (addr string) {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { writeText(w, status, text) }))
		t.Cleanup(server.Close)
		return strings.TrimPrefix(server.URL, "http://")
	}
	addr := serve(http.StatusServiceUnavailable, "connections: not ready, the node is stopping\nnot ready\n")
	for _, c := range []struct {
		env  environment
		args []string
		code int
		say  string
	}{
		{nil, []string{"--ready", "--admin", addr}, exitFailed, "answers 503: connections: not ready, the node is stopping"},
		{nil, []string{"--admin", freeAddr(t)}, exitFailed, "connection refused"},
		{nil, []string{"--admin", "https://" + addr}, exitFailed, "no node answers"},
		{nil, []string{"--admin", "http://user:pw@" + addr}, exitSetting, "--admin is unusable"},
		{environment{"LOGUX_ADMIN_ADDR": "127.0.0.1:0"}, nil, exitSetting, "port 0"},
		{environment{"LOGUX_PORT": "seven"}, nil, exitSetting, "LOGUX_PORT"},
	} {
		out, errs, code := command(t, c.env, "", append([]string{"health"}, c.args...)...)
		if code != c.code || out != "" || !strings.Contains(errs, c.say) || strings.Count(errs, "\n") != 1 {
			t.Errorf("%v: %d %q %q", c.args, code, out, errs)
		}
	}
	if _, errs, code := command(t, nil, "", "health", "--admin", serve(http.StatusOK, "<html>")); code != exitFailed || !strings.Contains(errs, "no Logux proxy") {
		t.Errorf("another server: %d %q", code, errs)
	}
}

func TestBaseURL(t *testing.T) {
	for addr, want := range map[string]string{
		"127.0.0.1:31338":           "http://127.0.0.1:31338",
		"0.0.0.0:31338":             "http://127.0.0.1:31338",
		"[::]:31338":                "http://[::1]:31338",
		"node-2:31338":              "http://node-2:31338",
		"http://node-2:31338/":      "http://node-2:31338",
		"https://ops.example/logux": "https://ops.example/logux",
		"":                          "", "http://": "", "ftp://a": "", "http://a?b": "", "a b": "", "127.0.0.1:0": "",
	} {
		if got, err := baseURL("--admin", addr); got != want || (err == nil) != (want != "") {
			t.Errorf("%q: %q, %v", addr, got, err)
		}
	}
}
