// Command demo shows the proxy at work: it starts the built binary, a small example back-end (backend.go) and a web page on the real
// @logux/client, in which any number of browser windows count together.
//
//	make demo
//
// It runs until Ctrl+C.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"
)

type settings struct {
	root   string // of the repository
	binary string // the proxy; "" for bin/logux-proxy in root
	page   string // host:port of the web page
	proxy  string // host:port of the proxy
	admin  string // host:port of the proxy's health and metrics
}

func main() {
	var s settings
	flag.StringVar(&s.root, "root", ".", "the repository")
	flag.StringVar(&s.binary, "binary", "", "the proxy (default bin/logux-proxy in the repository)")
	flag.StringVar(&s.page, "page", "127.0.0.1:31380", "address of the web page")
	flag.StringVar(&s.proxy, "proxy", "127.0.0.1:31337", "address of the proxy")
	flag.StringVar(&s.admin, "admin", "127.0.0.1:31338", "address of the proxy's health and metrics")
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

	secret := rand()
	backend, err := serve("127.0.0.1:0", &counter{secret: secret})
	if err != nil {
		return err
	}
	defer backend.Close() //nolint:errcheck // the program ends
	web, err := serve(s.page, page("ws://"+s.proxy, script))
	if err != nil {
		return err
	}
	defer web.Close() //nolint:errcheck // the program ends

	p, err := startProxy(ctx, s, "http://"+backend.Addr+"/logux", secret)
	if err != nil {
		return err
	}
	// The proxy's own first lines come before ours, so that where to click stands last.
	select {
	case <-time.After(300 * time.Millisecond):
	case <-ctx.Done():
	}
	fmt.Printf("\n  Open  http://%s/  in two browser windows and click.\n  Ctrl+C stops the demo.\n\n", s.page)
	select {
	case <-ctx.Done():
		fmt.Println()
		return p.stop()
	case <-p.exited:
		return fmt.Errorf("the proxy ended by itself: %w", p.err)
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
