package transport

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gobwas/ws"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience is how long a test waits for what must come. Nothing depends on its length.
const patience = 20 * time.Second

// key is a Sec-WebSocket-Key: RFC 6455's own example.
const key = "dGhlIHNhbXBsZSBub25jZQ=="

// script is a Handler of functions; those that are nil do nothing.
type script struct {
	open    func(c *Conn, r *Request)
	message func(c *Conn, text []byte)
	timer   func(c *Conn)
	flush   func(c *Conn)
	closed  func(c *Conn, reason CloseReason)
}

func (s *script) Open(c *Conn, r *Request) {
	if s.open != nil {
		s.open(c, r)
	}
}

func (s *script) Message(c *Conn, text []byte) {
	if s.message != nil {
		s.message(c, text)
	}
}

func (s *script) Timer(c *Conn) {
	if s.timer != nil {
		s.timer(c)
	}
}

func (s *script) Flush(c *Conn) {
	if s.flush != nil {
		s.flush(c)
	}
}

func (s *script) Closed(c *Conn, reason CloseReason) {
	if s.closed != nil {
		s.closed(c, reason)
	}
}

// echo sends every message back as it came.
func echo(c *Conn, p []byte) {
	if c.Binary() {
		c.SendBinary(p)
		return
	}
	c.Send(p)
}

// taskFunc is a Task of a function.
type taskFunc func(l *Loop)

func (f taskFunc) Run(l *Loop) { f(l) }

// do runs f on the loop and waits for it.
func do(t *testing.T, l *Loop, f func(l *Loop)) {
	t.Helper()
	done := make(chan struct{})
	if !l.Post(taskFunc(func(l *Loop) { f(l); close(done) })) {
		t.Fatal("the loop has ended")
	}
	receive(t, done)
}

// receive takes a value from c, or the test fails.
func receive[T any](t *testing.T, c <-chan T) T {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(patience):
		t.Fatal("nothing came")
		panic("unreachable")
	}
}

// await waits until f holds.
func await(t *testing.T, what string, f func() bool) {
	t.Helper()
	deadline := time.After(patience)
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for !f() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("%s: did not happen", what)
		}
	}
}

// serve runs a server until the test ends.
func serve(t testing.TB, h Handler, change func(c *Config)) *Server {
	t.Helper()
	s, stop := start(t, h, change)
	t.Cleanup(func() {
		if err := <-stop(); err != nil {
			t.Errorf("Run: %v", err)
		}
		if st := s.Stats(); st.Sockets != 0 || st.Connections != 0 || st.OutputWaiting != 0 {
			t.Errorf("left after the end: %d sockets, %d connections, %d bytes", st.Sockets, st.Connections, st.OutputWaiting)
		}
	})
	return s
}

// start runs a server until stop is called, whose channel bears what Run returned.
func start(t testing.TB, h Handler, change func(c *Config)) (s *Server, stop func() <-chan error) {
	t.Helper()
	c := Config{Addr: "127.0.0.1:0", Loops: 2, NewHandler: func(*Loop) Handler { return h }}
	if change != nil {
		change(&c)
	}
	s, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	t.Cleanup(cancel)
	return s, func() <-chan error { cancel(); return ended }
}

// modes are the ways in which a Server serves connections. What a Handler sees is the same in all.
var modes = []struct {
	name   string
	change func(c *Config)
}{
	{"epoll", func(*Config) {}},
	{"goroutines", func(c *Config) { c.Goroutines = true }},
	{"tls", func(c *Config) { c.TLS = testTLS() }},
}

// inAllModes runs f as a subtest per mode.
func inAllModes(t *testing.T, f func(t *testing.T, mode func(c *Config))) {
	t.Helper()
	for _, m := range modes {
		t.Run(m.name, func(t *testing.T) { f(t, m.change) })
	}
}

// testTLS is a certificate that nobody signed.
var testTLS = sync.OnceValue(func() *tls.Config {
	priv, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &priv.PublicKey, priv)
	if err != nil {
		panic(err)
	}
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: priv}}, MinVersion: tls.VersionTLS12}
})

// client is the other end of a connection.
type client struct {
	t testing.TB
	net.Conn
	r *bufio.Reader
}

// dialRaw connects and says nothing.
func dialRaw(t testing.TB, s *Server) *client {
	t.Helper()
	conn, err := net.Dial("tcp", s.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	if s.config.TLS != nil {
		conn = tls.Client(conn, &tls.Config{InsecureSkipVerify: true}) //nolint:gosec // the test's own server
	}
	return wrap(t, conn)
}

func wrap(t testing.TB, conn net.Conn) *client {
	t.Helper()
	if err := conn.SetDeadline(time.Now().Add(2 * patience)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return &client{t: t, Conn: conn, r: bufio.NewReader(conn)}
}

// handshake is the head of a good upgrade with extra header lines.
func handshake(extra ...string) string {
	lines := append([]string{
		"GET /any/path HTTP/1.1", "Host: example.com", "Upgrade: websocket", "Connection: keep-alive, Upgrade",
		"Sec-WebSocket-Key: " + key, "Sec-WebSocket-Version: 13",
	}, extra...)
	return strings.Join(lines, "\r\n") + "\r\n\r\n"
}

// dial connects and upgrades.
func dial(t testing.TB, s *Server, extra ...string) *client {
	t.Helper()
	c := dialRaw(t, s)
	c.upgrade(extra...)
	return c
}

func (c *client) upgrade(extra ...string) *http.Response {
	c.t.Helper()
	c.raw(handshake(extra...))
	r := c.response()
	if r.StatusCode != http.StatusSwitchingProtocols {
		c.t.Fatalf("upgrade: %s", r.Status)
	}
	return r
}

// raw writes s as it is.
func (c *client) raw(s string) {
	c.t.Helper()
	if _, err := io.WriteString(c.Conn, s); err != nil {
		c.t.Fatal(err)
	}
}

// response reads an HTTP response's head; its body is read if it has a length.
func (c *client) response() *http.Response {
	c.t.Helper()
	r, err := http.ReadResponse(c.r, nil)
	if err != nil {
		c.t.Fatal(err)
	}
	if r.StatusCode != http.StatusSwitchingProtocols {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			c.t.Fatal(err)
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
	}
	return r
}

// frame is a client's frame.
func frame(op ws.OpCode, fin bool, payload []byte) []byte {
	f := ws.NewFrame(op, fin, payload)
	f.Header.Masked = true
	f.Header.Mask = [4]byte{0x37, 0xfa, 0x21, 0x3d}
	f.Payload = bytes.Clone(payload)
	ws.Cipher(f.Payload, f.Header.Mask, 0)
	b, err := ws.CompileFrame(f)
	if err != nil {
		panic(err)
	}
	return b
}

func text(s string) []byte { return frame(ws.OpText, true, []byte(s)) }

func closing(code uint16, reason string) []byte {
	return frame(ws.OpClose, true, ws.NewCloseFrameBody(ws.StatusCode(code), reason))
}

// send writes one text message.
func (c *client) send(s string) {
	c.t.Helper()
	c.raw(string(text(s)))
}

// next reads one frame.
func (c *client) next() ws.Frame {
	c.t.Helper()
	var f ws.Frame
	var err error
	if f.Header, err = ws.ReadHeader(c.r); err == nil {
		f.Payload = make([]byte, f.Header.Length)
		_, err = io.ReadFull(c.r, f.Payload)
	}
	if err != nil {
		c.t.Fatalf("reading a frame: %v", err)
	}
	if f.Header.Masked {
		c.t.Fatal("a server must not mask")
	}
	return f
}

// expect reads one frame and compares it.
func (c *client) expect(op ws.OpCode, payload string) {
	c.t.Helper()
	f := c.next()
	if f.Header.OpCode != op || string(f.Payload) != payload {
		c.t.Fatalf("got %s, want %s", describe(f.Header.OpCode, f.Payload), describe(op, []byte(payload)))
	}
}

func (c *client) expectClose(code uint16) {
	c.t.Helper()
	f := c.next()
	got, _ := ws.ParseCloseFrameData(f.Payload)
	if f.Header.OpCode != ws.OpClose || uint16(got) != code {
		c.t.Fatalf("got %s, want a close frame with %d", describe(f.Header.OpCode, f.Payload), code)
	}
}

// expectEnd reads the end of the stream.
func (c *client) expectEnd() {
	c.t.Helper()
	rest, err := io.ReadAll(c.r)
	if err != nil || len(rest) > 0 {
		c.t.Fatalf("got %d bytes (%.40q) and %v, want the end of the stream", len(rest), rest, err)
	}
}

// expectGone reads until the connection has ended in any way.
func (c *client) expectGone() {
	c.t.Helper()
	if _, err := io.Copy(io.Discard, c.r); err != nil {
		var timeout net.Error
		if errors.As(err, &timeout) && timeout.Timeout() {
			c.t.Fatal("the connection lives")
		}
	}
}

func tcpAddr(s string) *net.TCPAddr { return net.TCPAddrFromAddrPort(netip.MustParseAddrPort(s)) }

func describe(op ws.OpCode, p []byte) string {
	if op == ws.OpClose {
		code, reason := ws.ParseCloseFrameData(p)
		return fmt.Sprintf("close %d %q", code, reason)
	}
	return fmt.Sprintf("op %x, %d bytes %.60q", byte(op), len(p), p)
}
