package backend

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"

	"logux-proxy/wire"
)

// A CheckAnswer is what the back-end said to a request without commands.
type CheckAnswer struct {
	Status int
	// Array reports whether the body begins like the array of answers that a Logux library writes.
	Array bool
	// Markup reports whether it begins like HTML or XML, as what is no Logux library answers.
	Markup bool
	// WantsTLS reports whether it is the word of a server that speaks TLS where http:// was asked.
	WantsTLS bool
}

// Check asks the back-end once whether it is there and accepts the secret, for an operator before a start: by a request of
// PROTOCOL section 5 with an empty list of commands, to which nothing has to be done and nothing answered. Connections, TLS and headers
// are those of a Client. It returns an error when no response came; it takes as long as ConnectTimeout and FirstByteTimeout
// at most.
func Check(ctx context.Context, c Config) (CheckAnswer, error) {
	c = c.withDefaults()
	if err := c.validate(); err != nil {
		return CheckAnswer{}, err
	}
	transport := newTransport(c)
	defer transport.CloseIdleConnections()
	ctx, cancel := context.WithTimeout(ctx, c.ConnectTimeout+c.FirstByteTimeout)
	defer cancel()
	body := wire.AppendCommandsEnd(wire.AppendCommandsStart(nil, c.Version, c.Secrets[0]))
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, c.URL.String(), bytes.NewReader(body))
	if err != nil {
		return CheckAnswer{}, fmt.Errorf("backend: checking: %w", err)
	}
	r.Header = newHeader(c)
	response, err := transport.RoundTrip(r)
	if err != nil {
		return CheckAnswer{}, fmt.Errorf("backend: checking: %w", err)
	}
	defer func() { _ = response.Body.Close() }()
	head, err := io.ReadAll(io.LimitReader(response.Body, excerptBytes))
	if err != nil && len(head) == 0 {
		return CheckAnswer{}, fmt.Errorf("backend: checking: %w", err)
	}
	head = bytes.TrimLeft(head, " \t\r\n")
	return CheckAnswer{
		Status: response.StatusCode, Array: bytes.HasPrefix(head, []byte("[")), Markup: bytes.HasPrefix(head, []byte("<")),
		WantsTLS: bytes.Contains(head, []byte("HTTPS")) && response.StatusCode == http.StatusBadRequest,
	}, nil
}
