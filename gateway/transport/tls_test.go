package transport

import (
	"crypto/tls"
	"net"
	"strings"
	"testing"

	"github.com/gobwas/ws"
)

func TestProxyProtocolBeforeTLS(t *testing.T) {
	s := serve(t, &script{open: func(c *Conn, r *Request) { c.Send([]byte(r.RemoteAddr.String())) }}, func(c *Config) {
		c.TLS = testTLS()
		c.TrustedProxies = loopback
	})
	for name, test := range proxyHeaders(t) {
		conn, err := net.Dial("tcp", s.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := conn.Write([]byte(test.header)); err != nil {
			t.Fatal(err)
		}
		c := wrap(t, tls.Client(conn, &tls.Config{InsecureSkipVerify: true})) //nolint:gosec // the test's own server
		c.upgrade()
		if f := c.next(); string(f.Payload) != test.want {
			t.Errorf("%s: address %q, want %q", name, f.Payload, test.want)
		}
	}
}

func TestFailedTLSHandshakesAreCounted(t *testing.T) {
	s := serve(t, &script{message: echo}, func(c *Config) { c.TLS = testTLS() })
	for _, garbage := range []string{"GET / HTTP/1.1\r\nHost: a\r\n\r\n", strings.Repeat("\x00", 100), "\x16\x03\x01\xff\xff"} {
		conn, err := net.Dial("tcp", s.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		c := wrap(t, conn)
		c.raw(garbage)
		_ = conn.(*net.TCPConn).CloseWrite()
		c.expectGone()
	}
	await(t, "count", func() bool { return s.Stats().Refused[RefusedTLS] == 3 })
	c := dial(t, s)
	c.send("hello")
	c.expect(ws.OpText, "hello")
}
