package main

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"logux-proxy/cmd/node/bench"
)

// A wrong flag ends it with one line that says what to mend, before anything is connected to.
func TestBenchFlags(t *testing.T) {
	empty := filepath.Join(t.TempDir(), "empty.pem")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	const server = "ws://127.0.0.1:1"
	for say, args := range map[string][]string{
		"there is no server to load":           {},
		"address is unusable":                  {"http://127.0.0.1:1"},
		"--clients":                            {server, "--clients", "0"},
		"--duration":                           {server, "--duration", "10"},
		"--user: a % is followed by none of d": {server, "--user", "u%n"},
		"--channel: a % is":                    {server, "--channel", "%"},
		"holds a colon":                        {server, "--user", "a:b"},
		"the subprotocol is a number":          {server, "--subprotocol", "1.0.0"},
		"no JSON object":                       {server, "--actions", "1", "--action", "INC"},
		"give both":                            {server, "--fan-out"},
		"--header: it has no name":             {server, "--header", "Origin"},
		"--source: \"here\" is no address":     {server, "--source", "here"},
		"--source: they are of both kinds":     {server, "--source", "127.0.0.2,::1"},
		"--ca: no such file":                   {"wss://127.0.0.1:1", "--ca", "/nowhere"},
		"--ca: the file holds no certificate":  {"wss://127.0.0.1:1", "--ca", empty},
		"neither a setting nor a command":      {server, "another"},
	} {
		out, errs, code := command(t, nil, "", append([]string{"bench"}, args...)...)
		if code != exitSetting || out != "" || !strings.Contains(errs, say) || strings.Count(errs, "\n") != 1 || !strings.Contains(errs, "; ") {
			t.Errorf("%v: %d %q %q", args, code, out, errs)
		}
	}
}

// Flags of the load test are no settings: variables of the proxy's names do not reach them, and none is read for them.
func TestBenchReadsNoVariables(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := listener.Addr().String()
	if err := listener.Close(); err != nil {
		t.Fatal(err)
	}
	env := environment{"LOGUX_CLIENTS": "none", "LOGUX_DURATION": "none", "LOGUX_USER": "a:b"}
	out, errs, code := command(t, env, "", "bench", "ws://"+addr)
	if code != exitFailed || out != "" || !strings.Contains(errs, "connection refused; start it, or mend the address") {
		t.Errorf("%d %q %q", code, out, errs)
	}
}

func TestExplainRefusal(t *testing.T) {
	for fault, mend := range map[string]string{
		"the server says wrong-credentials":                          "; give --user and --token",
		"the server says wrong-subprotocol {\"supported\":2}":        "; give a --subprotocol",
		"the server says wrong-format":                               "; the server may be an older one: try --protocol 4",
		"connect: HTTP status 403":                                   "; the server may not take this origin",
		"connect: HTTP status 404":                                   "; see that the address is that of the WebSocket",
		"subscription undone: denied":                                "; give a --channel",
		"connect: the certificate is signed by an unknown authority": "; give its authority with --ca",
		"something else":                                             "ws://a: something else",
	} {
		err := explainRefusal(&bench.RefusedError{Server: "ws://a", Fault: fault})
		if err == nil || !strings.Contains(err.Error(), fault) || !strings.Contains(err.Error(), mend) {
			t.Errorf("%s: %v", fault, err)
		}
	}
	other := errors.New("other")
	if err := explainRefusal(other); !errors.Is(err, other) {
		t.Error(err)
	}
}
