package backendtest

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
)

// A Control calls the proxy's control API.
type Control struct {
	URL     string
	Secret  string
	Version int // 0 means 4
	HTTP    *http.Client
}

// An Action is one that the back-end sends of its own accord.
type Action struct {
	Action json.RawMessage
	Meta   Meta
}

// Send posts actions in one request and returns an error unless the proxy answers 200 and nothing else.
func (c Control) Send(ctx context.Context, actions ...Action) error {
	commands := make([]any, 0, len(actions))
	for _, a := range actions {
		if c.Version == 2 || c.Version == 3 {
			commands = append(commands, []any{"action", a.Action, a.Meta})
			continue
		}
		commands = append(commands, struct {
			Command string          `json:"command"`
			Action  json.RawMessage `json:"action"`
			Meta    Meta            `json:"meta"`
		}{"action", a.Action, a.Meta})
	}
	version := c.Version
	if version == 0 {
		version = 4
	}
	status, body, err := c.Post(ctx, encode(struct {
		Version  int    `json:"version"`
		Secret   string `json:"secret"`
		Commands []any  `json:"commands"`
	}{version, c.Secret, commands}))
	if err != nil {
		return err
	}
	if status != http.StatusOK || body != "" {
		return fmt.Errorf("backendtest: control API answered %d %q", status, body)
	}
	return nil
}

// Post sends any body to the control API.
func (c Control) Post(ctx context.Context, raw []byte) (status int, body string, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.URL, bytes.NewReader(raw))
	if err != nil {
		return 0, "", fmt.Errorf("backendtest: calling the control API: %w", err)
	}
	req.Header.Set("Content-Type", "application/json")
	client := c.HTTP
	if client == nil {
		client = http.DefaultClient
	}
	res, err := client.Do(req)
	if err != nil {
		return 0, "", fmt.Errorf("backendtest: calling the control API: %w", err)
	}
	defer func() { _ = res.Body.Close() }()
	answer, err := io.ReadAll(res.Body)
	if err != nil {
		return 0, "", fmt.Errorf("backendtest: reading the control API's answer: %w", err)
	}
	return res.StatusCode, string(answer), nil
}

// Control returns a caller of the proxy's control API with the back-end's secret.
func (b *Backend) Control() Control {
	b.mu.Lock()
	defer b.mu.Unlock()
	return Control{URL: b.proxy, Secret: b.opts.Secret}
}
