package main

import (
	"encoding/base64"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// A relay passes connections on until it is cut.
type relay struct {
	addr string

	mu    sync.Mutex
	cut   bool
	conns []net.Conn
}

func startRelay(t *testing.T, to string) *relay {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r := &relay{addr: l.Addr().String()}
	var running sync.WaitGroup
	running.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			running.Go(func() { r.pass(conn, to) })
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		r.set(true)
		running.Wait()
	})
	return r
}

func (r *relay) pass(from net.Conn, addr string) {
	defer func() { _ = from.Close() }()
	to, err := net.Dial("tcp", addr)
	if err != nil {
		return
	}
	defer func() { _ = to.Close() }()
	r.mu.Lock()
	cut := r.cut
	r.conns = append(r.conns, from, to)
	r.mu.Unlock()
	if cut {
		return
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, _ = io.Copy(to, from)
		_ = to.Close()
	}()
	_, _ = io.Copy(from, to)
	_ = from.Close()
	<-done
}

// set cuts the relay or mends it.
func (r *relay) set(cut bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.cut = cut
	if cut {
		for _, conn := range r.conns {
			_ = conn.Close()
		}
		r.conns = nil
	}
}

// "Readiness fails only while peers still see Redis; liveness never depends on it." Meanwhile nothing is lost.
func TestRedisAwayFromOneNode(t *testing.T) {
	redis := freeAddr(t)
	startRedis(t, redis)
	between := startRelay(t, redis)
	backend := startBackend(t)
	a := startNode(t, backend, "redis://"+redis)
	b := startNode(t, backend, "redis://"+between.addr, "LOGUX_JOIN", a.gossip)
	whole(t, a, 2)
	whole(t, b, 2)
	client := dial(t, b.listen, "10:uuid:tab", "right")
	client.hears(`"connected"`)

	between.set(true)
	eventually(t, "b is not ready", func() bool { return get(t, b.admin+"readyz") == http.StatusServiceUnavailable })
	if text := page(t, b.admin+"readyz"); !strings.Contains(text, "cluster: not ready, this node does not reach Redis, and others do (bus down, nodes 2)") {
		t.Errorf("b says %s", text)
	}
	if get(t, b.admin+"healthz") != http.StatusOK || get(t, a.admin+"readyz") != http.StatusOK {
		t.Error("b is alive and a is ready")
	}
	if status, text := post(t, strings.Replace(a.listen, "ws://", "http://", 1),
		`{"version":4,"secret":"0123456789abcdef","commands":[{"command":"action","action":{"type":"crossed"},"meta":{"users":["10"]}}]}`); status != http.StatusOK {
		t.Fatalf("%d %s", status, text)
	}
	client.hears("crossed")

	between.set(false)
	eventually(t, "b is ready again", func() bool { return get(t, b.admin+"readyz") == http.StatusOK })
	whole(t, a, 2)
	a.stop(t)
	b.stop(t)
}

// "Rotate [...] gossip key under A: 0 disconnects; the old one refused": the keys of running nodes are changed step by
// step; then a node with the old one finds nobody, and one with the new one does.
func TestGossipKeyRotation(t *testing.T) {
	redis := freeAddr(t)
	startRedis(t, redis)
	older, newer := base64.StdEncoding.EncodeToString(make([]byte, 32)), base64.StdEncoding.EncodeToString([]byte("0123456789abcdef"))
	var files [2]string
	for i := range files {
		files[i] = filepath.Join(t.TempDir(), "key")
		writeFile(t, files[i], older)
	}
	backend := startBackend(t)
	a := startNode(t, backend, "redis://"+redis, "LOGUX_ID", "a", "LOGUX_GOSSIP_KEY_FILE", files[0])
	b := startNode(t, backend, "redis://"+redis, "LOGUX_ID", "b", "LOGUX_GOSSIP_KEY_FILE", files[1], "LOGUX_JOIN", a.gossip)
	whole(t, a, 2)
	whole(t, b, 2)
	find := func(key string) running {
		return startNode(t, backend, "redis://"+redis, "LOGUX_GOSSIP_KEY", key, "LOGUX_JOIN", a.gossip)
	}
	// Each step ends when a node that only it lets in was let in: first one that is a step ahead, then one that has never
	// heard of the old key.
	for _, step := range []struct{ file, other string }{
		{older + "," + newer, newer + "," + older},
		{newer + "\n" + older + "\n", newer},
	} {
		for _, file := range files {
			writeFile(t, file, step.file)
		}
		c := find(step.other)
		whole(t, c, 3)
		whole(t, b, 3)
		c.stop(t)
		whole(t, a, 2)
		whole(t, b, 2)
	}
	for _, file := range files {
		writeFile(t, file, newer)
	}
	eventually(t, "the old key is refused", func() bool {
		c := find(older)
		alone := len(look(t, c).Nodes) == 1 && get(t, c.admin+"readyz") == http.StatusOK
		c.stop(t)
		return alone
	})
	whole(t, a, 2)
	log := a.stop(t) + b.stop(t)
	if n := strings.Count(log, "The gossip keys were read again"); n != 6 {
		t.Errorf("%d changes: %s", n, log)
	}
	if strings.Contains(log, older) || strings.Contains(log, newer) {
		t.Error("a key is in the log")
	}
}
