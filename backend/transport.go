package backend

import (
	"context"
	"crypto/tls"
	"encoding/base64"
	"net"
	"net/http"
	"net/http/httptrace"
	"sync/atomic"
	"time"
)

// idleConnTimeout is how long an unused connection is kept. Servers close theirs after two seconds (gunicorn), five (Node.js,
// uvicorn) or more; an action that is written just then is lost to a reset that may hide a processed one, so we are the first to close.
const idleConnTimeout = 1500 * time.Millisecond

// newTransport returns the pool of connections to the back-end: as many as requests in flight, HTTP/2 where https offers
// it, no proxy whatever the environment says, no compressed responses.
func newTransport(c Config) *http.Transport {
	dialer := &net.Dialer{Timeout: c.ConnectTimeout}
	var config *tls.Config
	if c.TLS != nil {
		config = c.TLS.Clone()
	}
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	protocols.SetHTTP2(true)
	return &http.Transport{
		DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			conn, err := dialer.DialContext(ctx, network, addr)
			if err != nil {
				return nil, err
			}
			return &countedConn{Conn: conn}, nil
		},
		Proxy:                  nil,
		TLSClientConfig:        config,
		TLSHandshakeTimeout:    c.ConnectTimeout,
		ResponseHeaderTimeout:  c.FirstByteTimeout,
		DisableCompression:     true,
		MaxIdleConns:           c.Concurrency,
		MaxIdleConnsPerHost:    c.Concurrency,
		MaxConnsPerHost:        c.Concurrency,
		IdleConnTimeout:        idleConnTimeout,
		MaxResponseHeaderBytes: 64 << 10,
		Protocols:              protocols,
		HTTP2:                  &http.HTTP2Config{SendPingTimeout: 15 * time.Second, PingTimeout: 15 * time.Second},
	}
}

// newHeader returns the header of every request. No header of a client is ever among them.
func newHeader(c Config) http.Header {
	h := http.Header{
		"Content-Type":    {"application/json"},
		"Accept":          {"application/json"},
		"Accept-Encoding": {"identity"},
		"User-Agent":      {"logux-proxy"},
	}
	if c.URL.User != nil {
		password, _ := c.URL.User.Password()
		h.Set("Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte(c.URL.User.Username()+":"+password)))
	}
	return h
}

// A countedConn counts what was written to it.
type countedConn struct {
	net.Conn
	written atomic.Int64
}

func (c *countedConn) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	c.written.Add(int64(n))
	return n, err
}

// A sentTrace knows whether the back-end may have seen a request: the last byte was handed over and the connection took
// some. net/http reports a request as written before it flushes its last buffer, so that report alone is not enough.
type sentTrace struct {
	wrote atomic.Bool
	conn  atomic.Pointer[countedConn]
	start atomic.Int64
}

func (t *sentTrace) hooks() *httptrace.ClientTrace {
	return &httptrace.ClientTrace{
		// Called again when net/http takes another connection because the first one had taken nothing.
		GetConn: func(string) { t.wrote.Store(false) },
		GotConn: func(info httptrace.GotConnInfo) {
			conn := info.Conn
			if secure, ok := conn.(*tls.Conn); ok {
				conn = secure.NetConn()
			}
			if counted, ok := conn.(*countedConn); ok {
				t.start.Store(counted.written.Load())
				t.conn.Store(counted)
			}
		},
		WroteRequest: func(info httptrace.WroteRequestInfo) { t.wrote.Store(info.Err == nil) },
	}
}

// sent reports whether the whole request may have left.
func (t *sentTrace) sent() bool {
	if !t.wrote.Load() {
		return false
	}
	conn := t.conn.Load()
	return conn == nil || conn.written.Load() > t.start.Load()
}
