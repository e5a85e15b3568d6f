package bench

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"syscall"

	"github.com/gobwas/ws"
)

// lookUp finds the addresses of the server, once: with thousands of clients a resolver is not what is to be tried.
func lookUp(ctx context.Context, c *Config) ([]string, error) {
	port := c.URL.Port()
	if port == "" {
		port = map[string]string{"ws": "80", "wss": "443"}[c.URL.Scheme]
	}
	hosts, err := net.DefaultResolver.LookupHost(ctx, c.URL.Hostname())
	if err != nil {
		return nil, fmt.Errorf("%s has no address: %s", c.URL.Hostname(), cause(err))
	}
	var addrs []string
	for _, host := range hosts {
		if len(c.Sources) > 0 {
			if ip, err := netip.ParseAddr(host); err != nil || ip.Unmap().Is4() != c.Sources[0].Unmap().Is4() {
				continue
			}
		}
		addrs = append(addrs, net.JoinHostPort(host, port))
	}
	if len(addrs) == 0 {
		return nil, fmt.Errorf("%s has no address of the same kind as the source's", c.URL.Hostname())
	}
	return addrs, nil
}

// dial opens the WebSocket of a client. rest is what the server sent right behind the handshake.
func (l *load) dial(ctx context.Context, client int) (conn net.Conn, rest []byte, err error) {
	ctx, cancel := context.WithTimeout(ctx, l.config.Patience)
	defer cancel()
	dialer := ws.Dialer{
		NetDial: func(ctx context.Context, _, _ string) (net.Conn, error) {
			d := net.Dialer{}
			if n := len(l.config.Sources); n > 0 {
				d.LocalAddr = net.TCPAddrFromAddrPort(netip.AddrPortFrom(l.config.Sources[client%n], 0))
				d.Control = bindWithoutPort
			}
			return d.DialContext(ctx, "tcp", l.addrs[client%len(l.addrs)])
		},
		TLSConfig: l.config.TLS,
		Host:      l.config.Header.Get("Host"),
		Header:    ws.HandshakeHeaderHTTP(l.header),
	}
	var status ws.StatusError
	conn, buffered, _, err := dialer.Dial(ctx, l.config.URL.String())
	if errors.As(err, &status) {
		return nil, nil, fmt.Errorf("HTTP status %d", int(status))
	}
	if err != nil {
		return nil, nil, err
	}
	return conn, leftOver(buffered), nil
}

// leftOver takes what was read too much out of a reader, and gives it back.
func leftOver(r *bufio.Reader) []byte {
	if r == nil {
		return nil
	}
	defer ws.PutReader(r)
	rest := make([]byte, r.Buffered())
	_, _ = io.ReadFull(r, rest) // it is in memory
	return rest
}

// withoutHost are the header fields but Host, which has a place of its own.
func withoutHost(h http.Header) http.Header {
	h = h.Clone()
	h.Del("Host")
	return h
}

// reset closes a connection so that its port does not wait for two minutes: the next run needs it.
func reset(conn net.Conn) {
	if t, ok := conn.(*tls.Conn); ok {
		conn = t.NetConn()
	}
	if t, ok := conn.(*net.TCPConn); ok {
		_ = t.SetLinger(0)
	}
	_ = conn.Close()
}

// A closedError is a close frame of the server.
type closedError struct {
	code   ws.StatusCode
	reason string
}

func closed(payload []byte) error {
	code, reason := ws.ParseCloseFrameData(payload)
	return &closedError{code, reason}
}

func (e *closedError) Error() string {
	text := "the server closed it"
	if e.code != 0 {
		text += " with " + strconv.Itoa(int(e.code))
	}
	if e.reason != "" {
		text += ": " + short(e.reason)
	}
	return text
}

// Kinds of faults that are about this machine.
const (
	noFiles = "this process may open no more files; raise ulimit -n, or let several processes share the clients"
	noPorts = "no port is free on this machine; name more of its addresses with --source, or wait a minute after another run"
)

// cause says in a few words why something did not work, the same for all clients: without their addresses.
func cause(err error) string {
	var number syscall.Errno
	var dns *net.DNSError
	var certificate *tls.CertificateVerificationError
	var authority x509.UnknownAuthorityError
	var alert tls.AlertError
	var plain tls.RecordHeaderError
	switch {
	case err == nil:
		return "no reason"
	case errors.Is(err, syscall.EMFILE), errors.Is(err, syscall.ENFILE):
		return noFiles
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return noPorts
	case errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, context.DeadlineExceeded):
		return "it takes too long"
	case errors.As(err, &number):
		return number.Error()
	case errors.As(err, &dns):
		return dns.Err
	case errors.As(err, &authority):
		return "the certificate is signed by an unknown authority"
	case errors.As(err, &certificate):
		return short(certificate.Err.Error())
	case errors.As(err, &alert):
		return short(alert.Error())
	case errors.As(err, &plain):
		return "the server does not speak TLS"
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return errGone.Error()
	}
	return short(err.Error())
}

// short is text of a server on one line, and not too much of it.
func short(text string) string {
	const most = 100
	text = strings.Join(strings.FieldsFunc(text, func(r rune) bool { return r < ' ' || r == 0x7f || r >= 0x80 && r < 0xa0 }), " ")
	if runes := []rune(text); len(runes) > most {
		return string(runes[:most]) + "…"
	}
	return text
}
