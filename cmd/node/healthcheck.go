package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"
)

// healthPatience is how long the node may take to say that it lives.
const healthPatience = 4 * time.Second

type healthCommand struct {
	adminFlags
	Ready bool `help:"Ask whether it takes connections, too."`
}

// Help implements kong.HelpProvider.
func (healthCommand) Help() string {
	return `Exit code 0 says yes and 1 no. It is for the health check of a container, whose image
needs no other program for it:

  HEALTHCHECK CMD ["/logux-proxy", "health"]

When LOGUX_ADMIN_ADDR is off, GET /health on the public port is asked, which cannot tell
about --ready.`
}

// Run asks the node.
func (h *healthCommand) Run(p *process) error {
	ctx, cancel := context.WithTimeout(p.Context, healthPatience)
	defer cancel()
	c, err := p.settings()
	if err != nil {
		return err
	}
	if h.Admin == "" && c.adminAddr() == "" && !h.Ready {
		return askPublicPort(ctx, c, p.Stdout)
	}
	base, err := h.base(p)
	if err != nil {
		return err
	}
	path := "/healthz"
	if h.Ready {
		path = "/readyz"
	}
	status, answer, err := request(ctx, http.MethodGet, base+path, nil)
	switch text := strings.TrimSpace(string(answer)); {
	case err != nil:
		return fmt.Errorf("no node answers at %s: %s", base, networkReason(err))
	case status != http.StatusOK:
		return fmt.Errorf("the node at %s answers %d: %s", base, status, cut(text, 200))
	case !h.Ready && text != "ok":
		return fmt.Errorf("what answers at %s is no Logux proxy", base)
	}
	return healthy(p.Stdout)
}

// askPublicPort asks for /health where the WebSocket is. The certificate is not checked: it is for the name that
// clients use.
func askPublicPort(ctx context.Context, c *Config, out io.Writer) error {
	scheme := "http://"
	if c.Key != "" {
		scheme = "https://"
	}
	base, err := baseURL("LOGUX_PORT", scheme+c.listenAddr())
	if err != nil {
		return err
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, base+"/health", nil)
	if err != nil {
		return err
	}
	transport := &http.Transport{DisableKeepAlives: true, TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}
	response, err := transport.RoundTrip(r)
	if err != nil {
		return fmt.Errorf("no node answers at %s: %s", base, networkReason(err))
	}
	if err := response.Body.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
		return err
	}
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("the node at %s answers %d", base, response.StatusCode)
	}
	return healthy(out)
}

func healthy(out io.Writer) error {
	_, err := io.WriteString(out, "ok\n")
	return err
}
