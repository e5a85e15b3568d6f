// Command demo shows the proxy at work: it starts three nodes of the built binary and a Redis between them, a small example back-end (backend.go) and
// a web page on the real @logux/client, in which any number of browser windows count together, whichever node each is connected to. Without a
// redis-server it starts one node, which needs none.
//
//	make demo
//
// It runs until Ctrl+C.
package main

import (
	"cmp"
	"context"
	cryptorand "crypto/rand"
	"errors"
	"flag"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"
)

type settings struct {
	root   string // of the repository
	binary string // the proxy; "" for bin/logux-proxy in root
	page   string // host:port of the web page
	proxy  string // host:port of the first proxy
	admin  string // host:port of its health and metrics
	nodes  int
	redis  string // redis-server; "" for none
}

func main() {
	var s settings
	flag.StringVar(&s.root, "root", ".", "the repository")
	flag.StringVar(&s.binary, "binary", "", "the proxy (default bin/logux-proxy in the repository)")
	flag.StringVar(&s.page, "page", "127.0.0.1:31380", "address of the web page")
	flag.StringVar(&s.proxy, "proxy", "127.0.0.1:31337", "address of the (first) proxy")
	flag.StringVar(&s.admin, "admin", "127.0.0.1:31338", "address of its health and metrics")
	flag.IntVar(&s.nodes, "nodes", 3, "how many nodes; 1 needs no Redis")
	flag.StringVar(&s.redis, "redis", "redis-server", "the Redis server to start")
	flag.Parse()

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, s); err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, s settings) error {
	if s.binary == "" {
		s.binary = filepath.Join(s.root, "bin", "logux-proxy")
	}
	if _, err := os.Stat(s.binary); err != nil {
		return fmt.Errorf("%s is missing; run make build first", s.binary)
	}
	script, err := bundle(ctx, s.root)
	if err != nil {
		return err
	}
	for _, port := range []struct{ flag, addr, what string }{
		{"-proxy", s.proxy, "the proxy"}, {"-admin", s.admin, "the proxy's health and metrics"}, {"-page", s.page, "the web page"},
	} {
		if err := mustBeFree(port.flag, port.addr, port.what); err != nil {
			return err
		}
	}

	n, redis := s.nodes, ""
	if n > 1 {
		if redis, err = exec.LookPath(s.redis); err != nil {
			fmt.Printf("There is no %s here, so this is one node: it needs no Redis. With one there are three.\n", s.redis)
			n = 1
		}
	}
	secret := cryptorand.Text()
	backend, err := serve("127.0.0.1:0", &counter{secret: secret})
	if err != nil {
		return err
	}
	defer backend.Close() //nolint:errcheck // the program ends
	c, err := newCluster(s, max(n, 1), redis, "http://"+backend.Addr+"/logux", secret)
	if err != nil {
		return err
	}
	if err := c.start(ctx); err != nil {
		return errors.Join(err, c.stop())
	}
	web, err := serve(s.page, page(ctx, c, script))
	if err != nil {
		return errors.Join(err, c.stop())
	}
	defer web.Close() //nolint:errcheck // the program ends
	// The proxies' own first lines come before ours, so that where to click stands last.
	select {
	case <-time.After(300 * time.Millisecond):
	case <-ctx.Done():
	}
	welcome(web.Addr, c)
	return c.wait(ctx)
}

// welcome says where to click.
func welcome(page string, c *cluster) {
	if c.redis == nil {
		fmt.Printf("\n  Open  http://%s/  in two browser windows and click.\n  Ctrl+C stops the demo.\n\n", page)
		return
	}
	fmt.Printf("\n  Open  http://%s/  in several browser windows and click. Each is connected to another node.\n", page)
	fmt.Printf("  See   http://%s/cluster  for the cluster as its nodes see it.\n\n", page)
	for _, n := range c.nodes {
		fmt.Printf("  %-8s PID %-8d ws://%s\n", n.name, n.pid(), n.addr)
	}
	fmt.Printf("  %-8s PID %d\n\n", c.redis.name, c.redis.pid())
	fmt.Printf("  Kill any of them, with kill -9 or on the page: counting goes on.\n  Ctrl+C stops the demo.\n\n")
}

// wait returns when ctx ends and everything has been stopped. The end of a single node is the end of the demo.
func (c *cluster) wait(ctx context.Context) error {
	var alone <-chan struct{}
	if c.redis == nil {
		alone = c.nodes[0].current().exited
	}
	select {
	case <-ctx.Done():
		fmt.Println()
		return c.stop()
	case <-alone:
		return fmt.Errorf("the proxy ended by itself: %w", cmp.Or(c.nodes[0].current().err, errors.New("exit status 0")))
	}
}

// mustBeFree says which port to change when one is taken.
func mustBeFree(name, addr, what string) error {
	l, err := net.Listen("tcp", addr)
	if errors.Is(err, syscall.EADDRINUSE) {
		return fmt.Errorf("%s, for %s, is taken by another program; stop that one or choose another address with %s host:port", addr, what, name)
	}
	if err != nil {
		return fmt.Errorf("listening for %s: %w", what, err)
	}
	return l.Close()
}

// serve starts an HTTP server; its Addr is where it really listens.
func serve(addr string, h http.Handler) (*http.Server, error) {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("listening: %w", err)
	}
	srv := &http.Server{Addr: l.Addr().String(), Handler: h, ReadHeaderTimeout: 10 * time.Second}
	go func() { _ = srv.Serve(l) }() // ends with Close
	return srv, nil
}
