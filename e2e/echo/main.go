// Command echo serves the gateway's frame layer with nothing behind it: each message comes back as
// it was sent, text as text and binary as binary. It is there for WebSocket test suites.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"go.uber.org/zap"

	"logux-proxy/gateway/transport"
)

// echo answers on the loop; a connection needs no state.
type echo struct{}

func (echo) Open(*transport.Conn, *transport.Request) {}

func (echo) Message(c *transport.Conn, p []byte) {
	if c.Binary() {
		c.SendBinary(p)
		return
	}
	c.Send(p)
}

func (echo) Timer(*transport.Conn) {}

func (echo) Flush(*transport.Conn) {}

func (echo) Closed(*transport.Conn, transport.CloseReason) {}

func main() {
	addr := flag.String("addr", "127.0.0.1:9001", "where to listen")
	compress := flag.Bool("compress", false, "let clients negotiate permessage-deflate")
	goroutines := flag.Bool("goroutines", false, "serve connections with goroutines, as on systems without epoll")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := serve(ctx, *addr, *compress, *goroutines); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func serve(ctx context.Context, addr string, compress, goroutines bool) error {
	log, err := zap.NewDevelopment()
	if err != nil {
		return err
	}
	s, err := transport.New(transport.Config{
		Addr:        addr,
		NewHandler:  func(*transport.Loop) transport.Handler { return echo{} },
		Compression: compress,
		Goroutines:  goroutines,
		Log:         log,
		// Suites send 16 MiB, and 4 MiB in fragments of 64 bytes.
		Limits: transport.Limits{
			Message: 32 << 20, Fragments: 1 << 20, Output: 64 << 20,
			FrameTimeout: 10 * time.Minute, WriteTimeout: time.Minute,
		},
	})
	if err != nil {
		return err
	}
	fmt.Printf("echo on ws://%s\n", s.Addr())
	return s.Run(ctx)
}
