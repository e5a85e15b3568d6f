//go:build cluster

package cluster

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsutil"
)

// A crowd is clients that want to be connected: each to any pod that is ready, and again when it is let go.
type crowd struct {
	addresses func() []string
	connected atomic.Int64 // and let in
	done      sync.WaitGroup

	mu sync.Mutex
	// Guarded by mu.

	clients []context.CancelFunc
}

func startCrowd(t *testing.T, addresses func() []string) *crowd {
	t.Helper()
	c := &crowd{addresses: addresses}
	t.Cleanup(func() {
		c.set(0)
		c.done.Wait()
	})
	return c
}

// set lets clients come or go until there are so many.
func (c *crowd) set(clients int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for len(c.clients) > clients {
		last := len(c.clients) - 1
		c.clients[last]()
		c.clients = c.clients[:last]
	}
	for len(c.clients) < clients {
		ctx, cancel := context.WithCancel(context.Background())
		name := fmt.Sprintf("10:c%d:t", len(c.clients))
		c.clients = append(c.clients, cancel)
		c.done.Go(func() {
			for ctx.Err() == nil {
				c.connect(ctx, name)
				select {
				case <-ctx.Done():
				case <-time.After(time.Duration(rand.IntN(300)) * time.Millisecond):
				}
			}
		})
	}
}

// connect is a connection from its beginning to its end.
func (c *crowd) connect(ctx context.Context, name string) {
	addresses := c.addresses()
	if len(addresses) == 0 {
		return
	}
	conn, early, _, err := ws.Dial(ctx, "ws://"+addresses[rand.IntN(len(addresses))])
	if err != nil {
		return
	}
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
	defer func() { _ = conn.Close() }()
	peer := struct {
		io.Reader
		io.Writer
	}{conn, conn}
	if early != nil {
		peer.Reader = early
	}
	if wsutil.WriteClientText(peer, fmt.Appendf(nil, `["connect",4,%q,0,{"subprotocol":"1.0.0"}]`, name)) != nil {
		return
	}
	for in := false; ; {
		text, err := wsutil.ReadServerText(peer)
		if err != nil {
			if in {
				c.connected.Add(-1)
			}
			return
		}
		switch {
		case bytes.HasPrefix(text, []byte(`["connected"`)):
			in = true
			c.connected.Add(1)
		case bytes.HasPrefix(text, []byte(`["ping"`)):
			_ = wsutil.WriteClientText(peer, bytes.Replace(text, []byte("ping"), []byte("pong"), 1)) // the next read says it
		}
	}
}

// startBackend starts a back-end that lets everybody in, and returns its URL.
func startBackend(t *testing.T) string {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var body struct {
			Commands []struct {
				AuthID string `json:"authId"`
			} `json:"commands"`
		}
		if err := json.NewDecoder(r.Body).Decode(&body); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		answers := make([]map[string]string, 0, len(body.Commands))
		for _, c := range body.Commands {
			answers = append(answers, map[string]string{"answer": "authenticated", "authId": c.AuthID, "subprotocol": "1.0.0"})
		}
		_ = json.NewEncoder(w).Encode(answers)
	}))
	t.Cleanup(s.Close)
	return s.URL + "/"
}
