package backend

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/zap/zaptest/observer"

	"logux-proxy/backend/backendtest"
	"logux-proxy/wire"
)

// closedPort is an address at which nobody listens.
func closedPort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().String()
}

func TestConnectionRefused(t *testing.T) {
	c := newTestClient(t, "http://"+closedPort(t))
	inc(c, 1).want(t, "| unreachable")
}

func TestUnknownHost(t *testing.T) {
	c := newTestClient(t, "http://no-such-host.invalid/")
	inc(c, 1).want(t, "| unreachable")
}

// A back-end that comes up while a command waits gets it, once.
func TestBackendComesUp(t *testing.T) {
	addr := closedPort(t)
	var logs *observer.ObservedLogs
	c := newTestClient(t, "http://"+addr, func(cfg *Config) { cfg.Hold = patienceOfTests; logs = observed(cfg) })
	first := inc(c, 1)
	eventually(t, func() bool { return c.Stats().Retries >= 2 })
	l, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	b := backendtest.New(backendtest.Options{Secret: testSecret})
	s := &httptest.Server{Listener: l, Config: &http.Server{Handler: b}}
	s.Start()
	defer s.Close()
	first.want(t, "resend approved | processed")
	if b.Count(first.id) != 1 {
		t.Errorf("%d times", b.Count(first.id))
	}
	for _, message := range []string{"The back-end is away; commands wait for it", "The back-end is back"} {
		if logs.FilterMessage(message).Len() != 1 {
			t.Errorf("%q was logged %d times", message, logs.FilterMessage(message).Len())
		}
	}
}

// A connection that is reset before anything was written, or right after, never counts as processed; what was written is not
// sent again.
func TestReset(t *testing.T) {
	var requests atomic.Int64
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			if requests.Add(1)%2 == 0 { // every other one reads a little
				_, _ = conn.Read(make([]byte, 1))
			}
			_ = conn.(*net.TCPConn).SetLinger(0)
			_ = conn.Close()
		}
	}()
	c := newTestClient(t, "http://"+l.Addr().String())
	for n := range 50 {
		inc(c, n).wantOneOf(t, "| unreachable", "| malformed")
	}
}

// "30x not followed"; "secret never sent elsewhere".
func TestRedirect(t *testing.T) {
	var elsewhere atomic.Int64
	other := serve(t, http.HandlerFunc(func(http.ResponseWriter, *http.Request) { elsewhere.Add(1) }))
	for _, status := range []int{301, 302, 303, 307, 308} {
		b, url := newBackend(t)
		b.Reply(backendtest.Status(status, "", "Location", other+"/private?secret="+testSecret))
		c := newTestClient(t, url, func(cfg *Config) { cfg.Hold = patienceOfTests })
		s := inc(c, 1).want(t, fmt.Sprintf("| status %d", status))
		if text := s.err.Error(); !strings.Contains(text, strings.TrimPrefix(other, "http://")) || strings.Contains(text, testSecret) {
			t.Errorf("the error is %q", text)
		}
	}
	if elsewhere.Load() != 0 {
		t.Error("a redirection was followed")
	}
}

// Never a secret, token or cookie in a log or an error text, however the back-end quotes the request.
func TestSecretsStayOutOfLogs(t *testing.T) {
	const cookie = "cookie-canary-2"
	token := "token-canary-1" + strings.Repeat("y", 4*excerptBytes) // longer than what is kept of a response
	quote := fmt.Sprintf("<pre>%s %s %s ", testSecret, cookie, token)
	var logs *observer.ObservedLogs
	b, url := newBackend(t)
	c := newTestClient(t, url, func(cfg *Config) { logs = observed(cfg) })
	a := auth("a1", "10", token)
	a.Cookies = map[string]string{"session": cookie}
	texts := []string{}
	for _, reply := range []http.HandlerFunc{
		backendtest.Status(500, quote),
		backendtest.Status(403, quote),
		backendtest.Status(302, quote, "Location", "http://x.test/"+token+"?"+cookie),
		backendtest.Status(200, quote),
		backendtest.Bytes(quote + "\r\n"), // not HTTP
		backendtest.Status(200, "<pre>"+token),
		backendtest.Status(200, `[{"answer":"error","authId":"a1","details":"Error: `+quote+`"}]`),
		backendtest.Status(200, `[{"answer":"denied","authId":"a1"}]`+quote),
	} {
		b.Reply(reply)
		s := authenticate(c, a).wait(t)
		if s.err != nil {
			texts = append(texts, s.err.Error())
		}
		eventually(t, func() bool { return c.Stats().InFlight == 0 })
		c.mu.Lock()
		c.gate = gate{} // a 403 slows us down
		c.mu.Unlock()
	}
	for _, entry := range logs.All() {
		texts = append(texts, fmt.Sprint(entry.Message, entry.ContextMap()))
	}
	if logs.Len() < 6 {
		t.Errorf("only %d log lines", logs.Len())
	}
	for _, text := range texts {
		for _, canary := range []string{testSecret, token, cookie, token[:8], token[:14]} {
			if strings.Contains(text, canary) {
				t.Errorf("%q in %q", canary, text)
			}
		}
		if len(text) > 2000 {
			t.Errorf("a log line of %d bytes", len(text))
		}
	}
}

// authority is a certificate authority of a test.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pool *x509.CertPool
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test CA"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(cert)
	return &authority{cert, key, pool}
}

func (a *authority) issue(t *testing.T, until time.Time) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "test"},
		NotBefore: time.Now().Add(-2 * time.Hour), NotAfter: until,
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, &key.PublicKey, a.key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

func serveTLS(t *testing.T, h http.Handler, config *tls.Config, http2 bool) string {
	t.Helper()
	s := httptest.NewUnstartedServer(h)
	s.TLS = config
	s.EnableHTTP2 = http2
	s.Config.ErrorLog = quiet
	s.StartTLS()
	t.Cleanup(s.Close)
	return s.URL
}

// TLS to the back-end with an authority of our own and a client certificate, over HTTP/2 where the back-end has it.
func TestTLS(t *testing.T) {
	ca := newAuthority(t)
	later := time.Now().Add(time.Hour)
	for _, http2 := range []bool{true, false} {
		var proto atomic.Int64
		var requests atomic.Int64
		b := backendtest.New(backendtest.Options{Secret: testSecret})
		url := serveTLS(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			proto.Store(int64(r.ProtoMajor))
			requests.Add(1)
			b.ServeHTTP(w, r)
		}), &tls.Config{
			Certificates: []tls.Certificate{ca.issue(t, later)},
			ClientAuth:   tls.RequireAndVerifyClientCert, ClientCAs: ca.pool,
		}, http2)
		good := &tls.Config{RootCAs: ca.pool, Certificates: []tls.Certificate{ca.issue(t, later)}}

		c := newTestClient(t, url, func(cfg *Config) { cfg.TLS, cfg.Concurrency = good, 4 })
		var stories []*story
		for n := range 100 {
			stories = append(stories, inc(c, n))
		}
		for _, s := range stories {
			s.want(t, "resend approved | processed")
		}
		if want := map[bool]int64{true: 2, false: 1}[http2]; proto.Load() != want {
			t.Errorf("HTTP/%d, want %d", proto.Load(), want)
		}
		if b.Peak() > 4 {
			t.Errorf("%d requests at once", b.Peak())
		}
		c.Close()

		before := requests.Load()
		for about, config := range map[string]*tls.Config{
			"an authority that is not ours":        {RootCAs: newAuthority(t).pool, Certificates: good.Certificates},
			"the system's authorities":             nil,
			"an expired certificate of the server": {RootCAs: ca.pool, Certificates: good.Certificates, Time: func() time.Time { return later.Add(time.Hour) }},
		} {
			c := newTestClient(t, url, func(cfg *Config) { cfg.TLS = config })
			if got := inc(c, 1).wait(t).String(); got != "| unreachable" {
				t.Errorf("%s: %q", about, got)
			}
		}
		// TLS 1.3 tells a client without certificate only when it reads; the back-end has acted on nothing either way.
		c = newTestClient(t, url, func(cfg *Config) { cfg.TLS = &tls.Config{RootCAs: ca.pool} })
		inc(c, 1).wantOneOf(t, "| unreachable", "| malformed")
		if requests.Load() != before {
			t.Error("the back-end got a request over an untrusted connection")
		}
	}
}

// Answers stream over HTTP/2 as well, and a response that does not end is left behind.
func TestStreamingHTTP2(t *testing.T) {
	ca := newAuthority(t)
	b := backendtest.New(backendtest.Options{Secret: testSecret})
	url := serveTLS(t, b, &tls.Config{Certificates: []tls.Certificate{ca.issue(t, time.Now().Add(time.Hour))}}, true)
	c := newTestClient(t, url, func(cfg *Config) { cfg.TLS = &tls.Config{RootCAs: ca.pool} })
	next := make(chan struct{})
	b.Handle("INC", func(x *backendtest.Exchange) {
		x.Approved()
		<-next
		x.Processed()
		x.Raw("]")
		x.Hang()
	})
	s := newStory("1 38:a:b 0")
	c.Process(action(s.id, incBody), func(a wire.Answer) { s.answer(a); close(next) }, s.done)
	s.want(t, "approved | processed")
	until(t, b, func() bool { return b.InFlight() == 0 })
}

// A peer that accepts and says nothing costs ConnectTimeout.
func TestSilentTLSPeer(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	c := newTestClient(t, "https://"+l.Addr().String(), func(cfg *Config) { cfg.ConnectTimeout = 50 * time.Millisecond })
	inc(c, 1).want(t, "| unreachable")
}

// A user and a password in the URL go into the Authorization header.
func TestURLCredentials(t *testing.T) {
	var user, password string
	url := serve(t, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { user, password, _ = r.BasicAuth() }))
	c := newTestClient(t, strings.Replace(url, "http://", "http://me:pass%20word@", 1))
	s := inc(c, 1).want(t, "| malformed")
	if user != "me" || password != "pass word" {
		t.Errorf("%q, %q", user, password)
	}
	var e *Error
	if !errors.As(s.err, &e) || strings.Contains(e.Error(), "pass") {
		t.Errorf("%v", s.err)
	}
}

// A batch travels while others are answered: many callers, small limits, random trouble; each command has exactly one end, and
// none is acted on twice.
func TestTrouble(t *testing.T) {
	b, url := newBackend(t)
	c := newTestClient(t, url, func(cfg *Config) { cfg.Concurrency, cfg.Batch, cfg.Hold = 3, 7, patienceOfTests })
	b.Handle("cut", backendtest.Script(backendtest.Approved, backendtest.Cut))
	b.Handle("half", backendtest.Script(backendtest.Approved, backendtest.Raw(`,{"ans`)))
	b.Handle("nothing", backendtest.Script())
	bodies := []string{incBody, incBody, `{"type":"cut"}`, subscribeBody, incBody, `{"type":"half"}`, `{"type":"nothing"}`, `{"type":"error"}`}
	var wg sync.WaitGroup
	for caller := range 10 {
		wg.Go(func() {
			for n := range 40 {
				id := fmt.Sprintf("%d 38:c%d:b 0", n, caller)
				s := process(c, id, bodies[(n+caller)%len(bodies)]).wait(t)
				// Counted here: a handler whose connection was cut may outlive its request.
				if flying := c.Stats().InFlight; flying > 3 {
					t.Errorf("%d requests at once", flying)
				}
				if text := s.String(); strings.Contains(text, "ends") || strings.Contains(text, "after") || strings.Contains(text, "another") {
					t.Errorf("%s: %s", id, text)
				}
				if n := b.Count(id); n > 1 && s.final.Name == "processed" && !strings.Contains(s.String(), "action") {
					t.Errorf("%s came %d times", id, n)
				}
			}
		})
	}
	wg.Wait()
}
