package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"time"
)

// Bounds of a question to a node: its time, and the bytes of the answer. A thousand nodes are about 300 kB.
const (
	askPatience = 10 * time.Second
	maxAnswer   = 16 << 20
)

// settings are those of the environment alone, not yet checked against each other: what a node that runs here has, for
// commands that talk to it.
func (p *process) settings() (*Config, error) {
	var line commandLine
	_, err := parseCommandLine(&line, nil, &process{Env: p.Env, Stdout: io.Discard, Stderr: io.Discard})
	return &line.Run.Config, err
}

// adminFlags say which node is asked.
type adminFlags struct {
	Admin string `placeholder:"HOST:PORT" help:"Admin listener of the node to ask. Default: LOGUX_ADMIN_ADDR, or else 127.0.0.1:31338."`
}

// base is the URL of the admin listener, without a slash at the end.
func (f adminFlags) base(p *process) (string, error) {
	name, addr := "--admin", f.Admin
	if addr == "" {
		c, err := p.settings()
		if err != nil {
			return "", err
		}
		if name, addr = "LOGUX_ADMIN_ADDR", c.adminAddr(); addr == "" {
			return "", &settingError{Wrong: "LOGUX_ADMIN_ADDR is off, so that no node can be asked", Mend: "set it, or name another node with --admin"}
		}
	}
	return baseURL(name, addr)
}

// baseURL makes a URL of host:port, or keeps the one that it is. An address that means all of a machine's becomes the
// loopback address.
func baseURL(name, addr string) (string, error) {
	wrong := &settingError{Wrong: name + " is unusable", Mend: "write it as 127.0.0.1:31338 or http://127.0.0.1:31338"}
	if !strings.Contains(addr, "://") {
		addr = "http://" + addr
	}
	u, err := url.Parse(addr)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return "", wrong
	}
	if u.Port() == "0" {
		return "", &settingError{Wrong: name + " has the port 0, which the node replaced by a free one", Mend: "take the address from the first lines of its log"}
	}
	if ip, err := netip.ParseAddr(u.Hostname()); err == nil && ip.IsUnspecified() {
		u.Host = strings.Replace(u.Host, u.Hostname(), loopbackOf(ip), 1)
	}
	return strings.TrimSuffix(u.String(), "/"), nil
}

func loopbackOf(ip netip.Addr) string {
	if ip.Is4() {
		return "127.0.0.1"
	}
	return "::1"
}

// request sends one HTTP request and reads the whole answer. A redirect is an answer, and no proxy of the environment is
// used: the request may hold the secret. body is nil or JSON.
func request(ctx context.Context, method, address string, body []byte) (status int, answer []byte, err error) {
	ctx, cancel := context.WithTimeout(ctx, askPatience)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, method, address, bytes.NewReader(body))
	if err != nil {
		return 0, nil, err
	}
	r.Header.Set("Accept", "application/json")
	r.Header.Set("User-Agent", "logux-proxy")
	if body != nil {
		r.Header.Set("Content-Type", "application/json")
	}
	transport := &http.Transport{DisableKeepAlives: true, DisableCompression: true}
	defer transport.CloseIdleConnections()
	response, err := transport.RoundTrip(r)
	if err != nil {
		return 0, nil, err
	}
	defer func() { _ = response.Body.Close() }()
	answer, err = io.ReadAll(io.LimitReader(response.Body, maxAnswer+1))
	if err == nil && len(answer) > maxAnswer {
		err = errors.New("the answer is too long")
	}
	return response.StatusCode, answer, err
}

// askAdmin sends a request to the admin listener at base; body is nil or becomes JSON. It returns the answer of a node
// that did what it was asked.
func askAdmin(ctx context.Context, method, base, path string, body any) ([]byte, error) {
	var text []byte
	if body != nil {
		var err error
		if text, err = json.Marshal(body); err != nil {
			return nil, err
		}
	}
	status, answer, err := request(ctx, method, base+path, text)
	switch {
	case err != nil:
		return nil, fmt.Errorf("no node answers at %s: %s; start it, or name its LOGUX_ADMIN_ADDR with --admin", base, networkReason(err))
	case status == http.StatusOK || status == http.StatusAccepted:
		return answer, nil
	case status == http.StatusNotFound || status == http.StatusMethodNotAllowed:
		return nil, fmt.Errorf("%s has no %s: it is no admin listener, or that of an older node", base, path)
	}
	return nil, fmt.Errorf("%s answers %d: %s", base, status, cut(strings.TrimSpace(string(answer)), 200))
}

// networkReason is why nothing came back, in a few words.
func networkReason(err error) string {
	if timeout := net.Error(nil); errors.Is(err, context.DeadlineExceeded) || errors.As(err, &timeout) && timeout.Timeout() {
		return "it takes too long"
	}
	return cut(lastCause(err), 200)
}
