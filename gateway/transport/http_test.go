package transport

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/gobwas/ws"
	"github.com/pires/go-proxyproto"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"
)

// whoami is a Fallback that says what it was asked, and by whom.
func whoami(c *Config) {
	c.Fallback = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		_, _ = fmt.Fprintf(w, "%s %s %q from %s", r.Method, r.URL, body, ClientAddr(r, c.TrustedProxies))
	})
}

func (c *client) expectBody(status int, body string) *http.Response {
	c.t.Helper()
	r := c.response()
	got, _ := io.ReadAll(r.Body)
	if r.StatusCode != status || string(got) != body {
		c.t.Fatalf("got %d %q, want %d %q", r.StatusCode, got, status, body)
	}
	return r
}

func TestOtherRequestsGoToTheFallback(t *testing.T) {
	inAllModes(t, func(t *testing.T, mode func(*Config)) {
		s := serve(t, &script{}, func(c *Config) { mode(c); whoami(c) })
		c := dialRaw(t, s)
		c.raw("GET /a HTTP/1.1\r\nHost: x\r\n\r\n")
		c.expectBody(200, `GET /a "" from 127.0.0.1`)
		// The connection stays with the HTTP server.
		c.raw("POST /b HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello")
		c.expectBody(200, `POST /b "hello" from 127.0.0.1`)
		// A body that came with the head, one that comes later, and a pipelined request.
		p := dialRaw(t, s)
		p.raw("POST /c HTTP/1.1\r\nHost: x\r\nContent-Length: 8\r\n\r\nhel")
		await(t, "a second socket", func() bool { return s.Stats().Accepted == 2 })
		p.raw("lo wo")
		p.raw("GET /d HTTP/1.1\r\nHost: x\r\n\r\n")
		p.expectBody(200, `POST /c "hello wo" from 127.0.0.1`)
		p.expectBody(200, `GET /d "" from 127.0.0.1`)
		big := strings.Repeat("b", 200_000)
		go p.raw(fmt.Sprintf("PUT /e HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s", len(big), big))
		p.expectBody(200, fmt.Sprintf("PUT /e %q from 127.0.0.1", big))
		old := dialRaw(t, s)
		old.raw("GET /f HTTP/1.0\r\n\r\n")
		old.expectBody(200, `GET /f "" from 127.0.0.1`)
		old.expectEnd()
		if n := s.Stats().Connections; n != 0 {
			t.Errorf("%d WebSockets", n)
		}
		_, _ = c.Close(), p.Close()
		await(t, "end of all", func() bool { return s.Stats().Sockets == 0 })
	})
}

// A proxy in front of us that keeps connections alive may send an upgrade on one that served another request.
func TestUpgradeAfterAnotherRequest(t *testing.T) {
	inAllModes(t, func(t *testing.T, mode func(*Config)) {
		s := serve(t, &script{
			open:    func(c *Conn, r *Request) { c.Send([]byte(r.RemoteAddr.String() + " " + r.Cookie + " " + r.Origin)) },
			message: echo,
		}, func(c *Config) { mode(c); whoami(c) })
		c := dialRaw(t, s)
		c.raw("GET /a HTTP/1.1\r\nHost: x\r\n\r\n")
		c.expectBody(200, `GET /a "" from 127.0.0.1`)
		c.raw(handshake("Cookie: a=b", "Origin: https://o") + string(text("early")))
		if r := c.response(); r.StatusCode != http.StatusSwitchingProtocols {
			t.Fatal(r.Status)
		}
		c.expect(ws.OpText, "127.0.0.1 a=b https://o")
		c.expect(ws.OpText, "early")
		c.send("hello")
		c.expect(ws.OpText, "hello")
		bad := dialRaw(t, s)
		bad.raw("GET /a HTTP/1.1\r\nHost: x\r\n\r\n")
		bad.expectBody(200, `GET /a "" from 127.0.0.1`)
		bad.raw(strings.Replace(handshake(), "Version: 13", "Version: 7", 1))
		if r := bad.response(); r.StatusCode != http.StatusUpgradeRequired {
			t.Errorf("%s", r.Status)
		}
		bad.expectEnd()
	})
}

func TestNoFallbackIs404(t *testing.T) {
	s := serve(t, &script{}, nil)
	c := dialRaw(t, s)
	c.raw("GET / HTTP/1.1\r\nHost: x\r\n\r\n")
	if r := c.response(); r.StatusCode != http.StatusNotFound {
		t.Error(r.Status)
	}
}

func TestForeignOriginsGet403BeforeTheUpgrade(t *testing.T) {
	inAllModes(t, func(t *testing.T, mode func(*Config)) {
		core, logs := observer.New(zapcore.InfoLevel)
		s := serve(t, &script{open: func(_ *Conn, r *Request) {
			if r.Origin != "https://example.com" {
				t.Errorf("opened for %q", r.Origin)
			}
		}}, func(c *Config) {
			mode(c)
			c.Log = zap.New(core)
			c.CheckOrigin = func(origin, host string) bool { return origin == "https://"+host }
		})
		dial(t, s, "Origin: https://example.com")
		for _, origin := range []string{
			"null", "https://example.com.evil", "https://evilexample.com", "http://example.com", "https://example.com:8443",
			"https://EXAMPLE.com", "", "file://", "https://example.com/", strings.Repeat("x", 5000),
		} {
			logs.TakeAll()
			c := dialRaw(t, s)
			c.raw(handshake("Origin: "+origin, "Cookie: session=canary"))
			if r := c.response(); r.StatusCode != http.StatusForbidden {
				t.Errorf("%.40q: %s", origin, r.Status)
			}
			c.expectEnd()
			all := logs.TakeAll()
			if len(all) != 1 || all[0].ContextMap()["origin"] != origin[:min(len(origin), 256)] {
				t.Errorf("%.40q: logged %+v", origin, all)
			}
			if strings.Contains(fmt.Sprint(all), "canary") {
				t.Error("a cookie in the log")
			}
		}
		await(t, "ten refusals in the count", func() bool { return s.Stats().Refused[RefusedOrigin] == 10 })
	})
}

func TestForeignOriginsDoNotFillTheLog(t *testing.T) {
	core, logs := observer.New(zapcore.InfoLevel)
	s := serve(t, &script{}, func(c *Config) {
		c.Log = zap.New(core)
		c.CheckOrigin = func(string, string) bool { return false }
		c.Loops = 1
	})
	const n = 400
	began := time.Now()
	for range n {
		c := dialRaw(t, s)
		c.raw(handshake("Origin: https://evil"))
		c.expectGone()
	}
	if most := 100 + int(time.Since(began)/time.Second) + 1; logs.Len() > most {
		t.Errorf("%d lines for %d refusals", logs.Len(), n)
	}
	await(t, "all refusals in the count", func() bool { return s.Stats().Refused[RefusedOrigin] == n })
}

var loopback = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("10.0.0.0/8")}

func TestForwardedAddresses(t *testing.T) {
	tests := []struct {
		name, peer string
		lists      []string
		want       string
	}{
		{"no header", "127.0.0.1", nil, "127.0.0.1"},
		{"one entry of a trusted proxy", "127.0.0.1", []string{"192.0.2.7"}, "192.0.2.7"},
		{"what the client wrote stands left", "127.0.0.1", []string{"6.6.6.6, 192.0.2.7"}, "192.0.2.7"},
		{"a chain of trusted proxies", "127.0.0.1", []string{"6.6.6.6, 192.0.2.7, 10.1.1.1,10.2.2.2"}, "192.0.2.7"},
		{"several headers are one list", "127.0.0.1", []string{"6.6.6.6", "192.0.2.7", "10.1.1.1"}, "192.0.2.7"},
		{"all trusted: the first", "127.0.0.1", []string{"10.3.3.3, 10.1.1.1"}, "10.3.3.3"},
		{"an untrusted peer is not believed", "192.0.2.9", []string{"1.1.1.1"}, "192.0.2.9"},
		{"nonsense ends the walk", "127.0.0.1", []string{"1.1.1.1, nonsense, 10.1.1.1"}, "10.1.1.1"},
		{"empty entry ends the walk", "127.0.0.1", []string{"1.1.1.1, , 10.1.1.1"}, "10.1.1.1"},
		{"IPv6", "127.0.0.1", []string{"2001:db8::1"}, "2001:db8::1"},
		{"IPv6 in brackets with a port", "127.0.0.1", []string{"[2001:db8::1]:5000"}, "2001:db8::1"},
		{"IPv6 in brackets", "127.0.0.1", []string{"[2001:db8::1]"}, "2001:db8::1"},
		{"IPv4 with a port", "127.0.0.1", []string{"192.0.2.7:5000"}, "192.0.2.7"},
		{"IPv4 in IPv6", "127.0.0.1", []string{"::ffff:192.0.2.7"}, "192.0.2.7"},
		{"trusted IPv4 in IPv6", "127.0.0.1", []string{"192.0.2.7, ::ffff:10.0.0.1"}, "192.0.2.7"},
		{"zone is dropped", "127.0.0.1", []string{"fe80::1%eth0"}, "fe80::1"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			var lists [][]byte
			r := httptest.NewRequest(http.MethodGet, "/", nil)
			r.RemoteAddr = test.peer + ":99"
			for _, l := range test.lists {
				lists = append(lists, []byte(l))
				r.Header.Add("X-Forwarded-For", l)
			}
			if got := forwardedAddr(netip.MustParseAddr(test.peer), lists, loopback); got.String() != test.want {
				t.Errorf("got %s, want %s", got, test.want)
			}
			if got := ClientAddr(r, loopback); got.String() != test.want {
				t.Errorf("ClientAddr: got %s, want %s", got, test.want)
			}
		})
	}
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	r.RemoteAddr = "@"
	if got := ClientAddr(r, loopback); got.IsValid() {
		t.Errorf("an address of nothing: %s", got)
	}
}

func TestRemoteAddrOfUpgradeAndFallback(t *testing.T) {
	inAllModes(t, func(t *testing.T, mode func(*Config)) {
		h := &script{open: func(c *Conn, r *Request) { c.Send([]byte(r.RemoteAddr.String())) }}
		get := "GET /x HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 1.1.1.1\r\n\r\n"
		untrusted := serve(t, h, func(c *Config) { mode(c); whoami(c) })
		dial(t, untrusted, "X-Forwarded-For: 1.1.1.1", "Forwarded: for=2.2.2.2").expect(ws.OpText, "127.0.0.1")
		c := dialRaw(t, untrusted)
		c.raw(get)
		c.expectBody(200, `GET /x "" from 127.0.0.1`)
		trusted := serve(t, h, func(c *Config) { mode(c); c.TrustedProxies = loopback; whoami(c) })
		dial(t, trusted, "X-Forwarded-For: 1.1.1.1", "Forwarded: for=2.2.2.2").expect(ws.OpText, "1.1.1.1")
		c = dialRaw(t, trusted)
		c.raw(get)
		c.expectBody(200, `GET /x "" from 1.1.1.1`)
	})
}

// proxyHeaders are PROXY protocol headers and whom they name.
func proxyHeaders(t *testing.T) map[string]struct{ header, want string } {
	t.Helper()
	v2 := func(command proxyproto.ProtocolVersionAndCommand, family proxyproto.AddressFamilyAndProtocol, extra ...proxyproto.TLV) string {
		h := &proxyproto.Header{Version: 2, Command: command, TransportProtocol: family}
		source, destination := "192.0.2.55:1000", "192.0.2.1:443"
		if family == proxyproto.TCPv6 {
			source, destination = "[2001:db8::5]:1000", "[2001:db8::1]:443"
		}
		h.SourceAddr = tcpAddr(source)
		h.DestinationAddr = tcpAddr(destination)
		if err := h.SetTLVs(extra); err != nil {
			t.Fatal(err)
		}
		b, err := h.Format()
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	return map[string]struct{ header, want string }{
		"version 1":             {"PROXY TCP4 192.0.2.55 192.0.2.1 1000 443\r\n", "192.0.2.55"},
		"version 1, IPv6":       {"PROXY TCP6 2001:db8::5 2001:db8::1 1000 443\r\n", "2001:db8::5"},
		"version 1, unknown":    {"PROXY UNKNOWN\r\n", "127.0.0.1"},
		"version 2":             {v2(proxyproto.PROXY, proxyproto.TCPv4), "192.0.2.55"},
		"version 2, IPv6":       {v2(proxyproto.PROXY, proxyproto.TCPv6), "2001:db8::5"},
		"version 2, local":      {v2(proxyproto.LOCAL, proxyproto.UNSPEC), "127.0.0.1"},
		"version 2, extensions": {v2(proxyproto.PROXY, proxyproto.TCPv4, proxyproto.TLV{Type: proxyproto.PP2_TYPE_AUTHORITY, Value: []byte("example.com")}), "192.0.2.55"},
		"none":                  {"", "127.0.0.1"},
	}
}

func TestProxyProtocolOfTrustedPeers(t *testing.T) {
	for _, m := range modes[:2] { // TLS: TestProxyProtocolBeforeTLS
		t.Run(m.name, func(t *testing.T) {
			s := serve(t, &script{open: func(c *Conn, r *Request) { c.Send([]byte(r.RemoteAddr.String())) }, message: echo},
				func(c *Config) { m.change(c); c.TrustedProxies = loopback; whoami(c) })
			for name, test := range proxyHeaders(t) {
				all := test.header + handshake() + string(text("early"))
				for _, cut := range []int{0, 1, 5, 12, 16, len(test.header), len(test.header) + 1, len(all)} {
					c := dialRaw(t, s)
					c.raw(all[:cut])
					if cut > 0 && cut < len(all) {
						seen := s.Stats().BytesIn
						await(t, "first piece", func() bool { return s.Stats().BytesIn >= seen })
					}
					c.raw(all[cut:])
					if r := c.response(); r.StatusCode != http.StatusSwitchingProtocols {
						t.Fatalf("%s: %s", name, r.Status)
					}
					c.expect(ws.OpText, test.want)
					c.expect(ws.OpText, "early")
				}
				c := dialRaw(t, s)
				c.raw(test.header + "GET /x HTTP/1.1\r\nHost: a\r\n\r\n")
				c.expectBody(200, `GET /x "" from `+test.want)
			}
			for name, header := range map[string]string{
				"garbage":        "PROXY nonsense\r\n",
				"endless line":   "PROXY TCP4 " + strings.Repeat("1", 200),
				"bad address":    "PROXY TCP4 192.0.2.555 192.0.2.1 1000 443\r\n",
				"v2 bad version": "\r\n\r\n\x00\r\nQUIT\n\x11\x11\x00\x0c0123456789ab",
				"v2 too long":    "\r\n\r\n\x00\r\nQUIT\n\x21\x11\xff\xff",
				"twice":          "PROXY TCP4 192.0.2.55 192.0.2.1 1000 443\r\nPROXY TCP4 192.0.2.55 192.0.2.1 1000 443\r\n",
			} {
				c := dialRaw(t, s)
				c.raw(header + handshake())
				if r := c.response(); r.StatusCode != http.StatusBadRequest {
					t.Errorf("%s: %s", name, r.Status)
				}
				c.expectGone()
			}
		})
	}
}

func TestConnectionsAreLimited(t *testing.T) {
	for _, m := range modes[:2] {
		t.Run(m.name, func(t *testing.T) {
			s := serve(t, &script{message: echo}, func(c *Config) { m.change(c); c.Limits.Connections = 3 })
			a, b, _ := dial(t, s), dial(t, s), dialRaw(t, s)
			await(t, "three sockets", func() bool { return s.Stats().Sockets == 3 })
			for range 5 {
				c := dialRaw(t, s)
				c.raw(handshake())
				if r := c.response(); r.StatusCode != http.StatusServiceUnavailable || r.Header.Get("Retry-After") == "" {
					t.Fatalf("%s %v", r.Status, r.Header)
				}
				c.expectEnd()
				_ = c.Close()
			}
			await(t, "end of those refused", func() bool { return s.Stats().Sockets == 3 })
			await(t, "five refusals in the count", func() bool { return s.Stats().Refused[RefusedLimit] == 5 })
			a.send("hello")
			a.expect(ws.OpText, "hello")
			_ = b.Close()
			await(t, "a free place", func() bool { return s.Stats().Sockets == 2 })
			c := dial(t, s)
			c.send("hello")
			c.expect(ws.OpText, "hello")
		})
	}
}

func TestAcceptRateIsLimited(t *testing.T) {
	for _, m := range modes[:2] {
		t.Run(m.name, func(t *testing.T) {
			const n, perSecond = 30, 60 // a burst of 6 at once
			s := serve(t, &script{message: echo}, func(c *Config) { m.change(c); c.Limits.ConnectRate = perSecond })
			began := time.Now()
			var clients []*client
			for range n {
				c := dialRaw(t, s)
				c.raw(handshake() + string(text("hello")))
				clients = append(clients, c)
			}
			for _, c := range clients {
				if r := c.response(); r.StatusCode != http.StatusSwitchingProtocols {
					t.Fatal(r.Status)
				}
				c.expect(ws.OpText, "hello")
			}
			// The bucket's own arithmetic: what is beyond the burst cannot come faster than this.
			if least := (n - perSecond/10 - 1) * time.Second / perSecond; time.Since(began) < least {
				t.Errorf("%d connections within %s, the least is %s", n, time.Since(began), least)
			}
		})
	}
}
