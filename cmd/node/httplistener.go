package main

import (
	"context"
	"errors"
	"net"
	"net/http"
	"time"

	"go.uber.org/zap"
)

// An httpListener serves plain HTTP on an address of its own.
type httpListener struct {
	listener net.Listener
	server   *http.Server
}

// newHTTPListener opens the listener that setting asks for.
func newHTTPListener(setting, addr string, handler http.Handler, log *zap.Logger) (*httpListener, error) {
	listener, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, listenError(setting, addr, err)
	}
	errorLog, err := zap.NewStdLogAt(log, zap.DebugLevel)
	if err != nil {
		return nil, errors.Join(err, listener.Close())
	}
	return &httpListener{listener, &http.Server{
		Handler:           handler,
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       time.Minute,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    16 << 10,
		ErrorLog:          errorLog,
	}}, nil
}

// addr is where it listens; "" for nil.
func (l *httpListener) addr() string {
	if l == nil {
		return ""
	}
	return l.listener.Addr().String()
}

// Close gives the address back; for a listener that does not run.
func (l *httpListener) Close() error { return l.listener.Close() }

// Run serves until ctx ends, and lets requests under way end for a moment. It may be called on nil, which does
// nothing.
func (l *httpListener) Run(ctx context.Context) error {
	if l == nil {
		return nil
	}
	const patience = time.Second
	stopped := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(stopped)
		limit, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if l.server.Shutdown(limit) != nil {
			_ = l.server.Close() // what is still open had its time
		}
	})
	err := l.server.Serve(l.listener)
	if !stop() {
		<-stopped
	}
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}
