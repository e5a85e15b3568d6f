package transport

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/gobwas/ws"
)

// badHandshakes are upgrade requests that must be refused, by what is wrong with them. They are made
// of a good one by replacing a line, or by adding one in each of several places.
func badHandshakes() map[string]string {
	good := handshake()
	bad := make(map[string]string)
	put := func(name, request string) {
		if _, ok := bad[name]; ok {
			panic("twice: " + name)
		}
		if request == good {
			panic("not changed: " + name)
		}
		bad[name] = request
	}
	replace := func(name, old, new string) { put(name, strings.Replace(good, old, new, 1)) }
	// Before Host, after Host, and last.
	places := map[string]func(line string) string{
		"first":  func(l string) string { return strings.Replace(good, "Host:", l+"\r\nHost:", 1) },
		"second": func(l string) string { return strings.Replace(good, "Upgrade: w", l+"\r\nUpgrade: w", 1) },
		"last":   func(l string) string { return strings.TrimSuffix(good, "\r\n") + l + "\r\n\r\n" },
	}
	add := func(name, line string) {
		for where, f := range places {
			put(name+", "+where, f(line))
		}
	}

	for _, m := range []string{"POST", "PUT", "HEAD", "OPTIONS", "CONNECT", "get", "G ET", "", "GET\t", "GE(T", "GE\x00T"} {
		replace("method "+fmt.Sprintf("%q", m), "GET", m)
	}
	for _, u := range []string{
		"http://example.com/", "https://example.com/", "ws://example.com/", "//@/ x", "*", "example.com:80", "", " /", "/a b", "/a\tb", "/\x00", "/\x7f", "/\xc3\xa9", "any",
	} {
		replace("target "+fmt.Sprintf("%q", u), "/any/path", u)
	}
	for _, v := range []string{"HTTP/1.0", "HTTP/0.9", "HTTP/2.0", "HTTP/1.2", "HTTP/11", "http/1.1", "HTTP/1.1 ", "HTTP/1.1\t", "HTTP/1,1", "", "HTTP/1.10", "HTTP/01.1", "HTTQ/1.1"} {
		replace("version "+fmt.Sprintf("%q", v), "HTTP/1.1", v)
	}
	put("two spaces in the request line", strings.Replace(good, "GET ", "GET  ", 1))
	put("empty line first", "\r\n"+good)
	put("h2c preface", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
	put("TLS on a plain port", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\n")
	put("PROXY line from nobody", "PROXY TCP4 1.2.3.4 5.6.7.8 1 2\r\n"+good)
	put("PROXY version 2 from nobody", "\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0c\x01\x02\x03\x04\x05\x06\x07\x08\x00\x01\x00\x02"+good)

	for i, line := range strings.Split(strings.TrimSuffix(good, "\r\n\r\n"), "\r\n") {
		put(fmt.Sprintf("bare LF after line %d", i), strings.Replace(good, line+"\r\n", line+"\n", 1))
		put(fmt.Sprintf("CR CR LF after line %d", i), strings.Replace(good, line+"\r\n", line+"\r\r\n", 1))
		put(fmt.Sprintf("bare CR within line %d", i), strings.Replace(good, line+"\r\n", line[:len(line)-1]+"\r"+line[len(line)-1:]+"\r\n", 1))
		put(fmt.Sprintf("NUL within line %d", i), strings.Replace(good, line+"\r\n", line[:len(line)-1]+"\x00"+line[len(line)-1:]+"\r\n", 1))
		if i > 0 {
			put(fmt.Sprintf("line %d folded", i), strings.Replace(good, line, strings.Replace(line, ": ", ":\r\n ", 1), 1))
			put(fmt.Sprintf("line %d with a space before the colon", i), strings.Replace(good, line, strings.Replace(line, ":", " :", 1), 1))
			put(fmt.Sprintf("line %d begins with a space", i), strings.Replace(good, line, " "+line, 1))
			put(fmt.Sprintf("line %d without a colon", i), strings.Replace(good, line, strings.Replace(line, ":", "", 1), 1))
			if !strings.HasPrefix(line, "Upgrade") { // without it, it is no upgrade at all
				put(fmt.Sprintf("line %d missing", i), strings.Replace(good, line+"\r\n", "", 1))
			}
			put(fmt.Sprintf("line %d twice", i), strings.Replace(good, line+"\r\n", line+"\r\n"+line+"\r\n", 1))
			put(fmt.Sprintf("line %d again in capitals, last", i), strings.TrimSuffix(good, "\r\n")+strings.ToUpper(line)+"\r\n\r\n")
		}
	}
	put("ends in bare LF", strings.TrimSuffix(good, "\r\n")+"\n")

	add("underscore in a name", "X_Forwarded_For: 1.2.3.4")
	add("empty name", ": value")
	add("name in quotes", `"X": 1`)
	add("name not ASCII", "X-\xc3\xa9: 1")
	add("control character in a name", "X-\x01: 1")
	add("tab in a name", "X\tY: 1")
	for _, b := range []byte{0, 1, 7, 8, 11, 12, 27, 31, 127} {
		add(fmt.Sprintf("byte %d in a value", b), "Cookie: a="+string([]byte{b})+"b")
	}
	add("fold", " folded")
	add("fold by tab", "\tfolded")

	add("two Hosts", "Host: other.example")
	add("two Upgrades", "Upgrade: h2c")
	add("two keys", "Sec-WebSocket-Key: "+key)
	add("two versions", "Sec-WebSocket-Version: 8")
	put("two Origins", strings.TrimSuffix(good, "\r\n")+"Origin: https://a\r\nOrigin: https://b\r\n\r\n")

	add("body by Content-Length", "Content-Length: 5")
	add("body by Transfer-Encoding", "Transfer-Encoding: chunked")
	add("Content-Length negative", "Content-Length: -1")
	add("Content-Length with a sign", "Content-Length: +0")
	add("Content-Length as a list", "Content-Length: 0, 0")
	add("Content-Length hexadecimal", "Content-Length: 0x0")
	add("Content-Length endless", "Content-Length: "+strings.Repeat("9", 40))
	add("Transfer-Encoding unknown", "Transfer-Encoding: xchunked")
	add("Transfer-Encoding identity", "Transfer-Encoding: identity")
	add("Transfer-Encoding as a list", "Transfer-Encoding: gzip, chunked")
	put("CL and TE", strings.TrimSuffix(good, "\r\n")+"Content-Length: 0\r\nTransfer-Encoding: chunked\r\n\r\n")
	put("TE and CL", strings.TrimSuffix(good, "\r\n")+"Transfer-Encoding: chunked\r\nContent-Length: 0\r\n\r\n")
	put("two Content-Lengths", strings.TrimSuffix(good, "\r\n")+"Content-Length: 0\r\nContent-Length: 0\r\n\r\n")
	put("CL and TE without an upgrade", "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n")

	for _, h := range []string{"", "a b", "a/b", "user@example.com", "a\\b", "<a>", "a,b", "a\"b", "\xc3\xa9"} {
		replace("Host "+fmt.Sprintf("%q", h), "Host: example.com", "Host: "+h)
	}
	for _, c := range []string{"", "keep-alive", "close", "Upgradee", "up grade", "keep-alive; Upgrade", "\"Upgrade\""} {
		replace("Connection "+fmt.Sprintf("%q", c), "Connection: keep-alive, Upgrade", "Connection: "+c)
	}
	for _, k := range []string{"", "x", "dGhlIHNhbXBsZSBub25jZQ", "dGhlIHNhbXBsZSBub25jZQ=", "dGhlIHNhbXBsZSBub25jZQ==x", "dGhlIHNhbXBsZSBub25jZQ===", "!!!!IHNhbXBsZSBub25jZQ==", "dGhlIHNhbXBsZSBub25jZTE=", strings.Repeat("A", 24), strings.Repeat("A", 44)} {
		replace("key "+fmt.Sprintf("%q", k), key, k)
	}
	return bad
}

func TestBadHandshakesAreRefused(t *testing.T) {
	s := serve(t, &script{open: func(*Conn, *Request) { t.Error("upgraded") }}, func(c *Config) {
		c.Fallback = http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { t.Errorf("passed on: %q", r.Header) })
	})
	bad := badHandshakes()
	if len(bad) < 200 {
		t.Errorf("only %d handshakes", len(bad))
	}
	for name, request := range bad {
		c := dialRaw(t, s)
		// What follows must not be taken for anything.
		c.raw(request + "GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n")
		r := c.response()
		if r.StatusCode < 400 || r.StatusCode > 499 || !r.Close {
			t.Errorf("%s: %s, closes: %v", name, r.Status, r.Close)
		}
		c.expectEnd()
	}
	await(t, "end of all", func() bool { return s.Stats().Sockets == 0 })
	await(t, "all in the count", func() bool { return s.Stats().Refused[RefusedRequest] == int64(len(bad)) })
}

// RFC 6455, section 4.4, and RFC 9110, section 7.8.
func TestOtherVersionsAndProtocolsGet426(t *testing.T) {
	s := serve(t, &script{}, nil)
	tests := map[string]string{
		"version 7":         strings.Replace(handshake(), "Version: 13", "Version: 7", 1),
		"version 8":         strings.Replace(handshake(), "Version: 13", "Version: 8", 1),
		"version 14":        strings.Replace(handshake(), "Version: 13", "Version: 14", 1),
		"version 013":       strings.Replace(handshake(), "Version: 13", "Version: 013", 1),
		"versions 13, 8":    strings.Replace(handshake(), "Version: 13", "Version: 13, 8", 1),
		"version empty":     strings.Replace(handshake(), "Version: 13", "Version:", 1),
		"h2c":               "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n\r\n",
		"TLS/1.0":           strings.Replace(handshake(), "Upgrade: websocket", "Upgrade: TLS/1.0", 1),
		"websocket and h2c": strings.Replace(handshake(), "Upgrade: websocket", "Upgrade: websocket, h2c", 1),
		"empty":             strings.Replace(handshake(), "Upgrade: websocket", "Upgrade:", 1),
	}
	for name, request := range tests {
		c := dialRaw(t, s)
		c.raw(request)
		r := c.response()
		if r.StatusCode != http.StatusUpgradeRequired || r.Header.Get("Sec-WebSocket-Version") != "13" || r.Header.Get("Upgrade") != "websocket" {
			t.Errorf("%s: %s %v", name, r.Status, r.Header)
		}
		c.expectEnd()
	}
}

func TestGoodHandshakes(t *testing.T) {
	s := serve(t, &script{message: echo}, nil)
	tests := map[string]string{
		"as browsers send it":     handshake("Origin: https://example.com", "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits", "User-Agent: Mozilla/5.0", "Accept-Encoding: gzip, deflate, br", "Cookie: a=b; c=d"),
		"names in small letters":  strings.ToLower(strings.Split(handshake(), "Sec-")[0][len("GET /any/path HTTP/1.1"):]),
		"value in capitals":       strings.Replace(handshake(), "websocket", "WebSocket", 1),
		"no space after colons":   strings.ReplaceAll(handshake(), ": ", ":"),
		"spaces around values":    strings.ReplaceAll(handshake(), ": ", ": \t "),
		"host with port":          strings.Replace(handshake(), "example.com", "example.com:8080", 1),
		"host IPv6":               strings.Replace(handshake(), "example.com", "[::1]:8080", 1),
		"query":                   strings.Replace(handshake(), "/any/path", "/?a=b&c=%20//x", 1),
		"Content-Length 0":        handshake("Content-Length: 0"),
		"not ASCII in a value":    handshake("Cookie: a=\xc3\xa9"),
		"a subprotocol":           handshake("Sec-WebSocket-Protocol: chat, superchat"),
		"the key's own last bits": strings.Replace(handshake(), key, "dGhlIHNhbXBsZSBub25jZQ==", 1),
	}
	tests["names in small letters"] = "GET / HTTP/1.1" + tests["names in small letters"] + "sec-websocket-key: " + key + "\r\nsec-websocket-version: 13\r\n\r\n"
	for name, request := range tests {
		c := dialRaw(t, s)
		c.raw(request)
		r := c.response()
		if r.StatusCode != http.StatusSwitchingProtocols {
			t.Errorf("%s: %s", name, r.Status)
			continue
		}
		// Section 4.2.2: the key's answer is that of the RFC's example; nothing is agreed on that was not asked for.
		if got := r.Header.Get("Sec-WebSocket-Accept"); got != "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" {
			t.Errorf("%s: accept %q", name, got)
		}
		if r.Header.Get("Sec-WebSocket-Extensions") != "" || r.Header.Get("Sec-WebSocket-Protocol") != "" {
			t.Errorf("%s: %v", name, r.Header)
		}
		c.send("hello")
		c.expect(ws.OpText, "hello")
	}
}

func TestLongHeadsAreRefused(t *testing.T) {
	s := serve(t, &script{}, func(c *Config) { c.Limits.Head = 2048 })
	for name, request := range map[string]string{
		"one long header":   handshake("X: " + strings.Repeat("x", 64<<10)),
		"many headers":      handshake(strings.Repeat("X: 1\r\n", 8000) + "Y: 1"),
		"long target":       strings.Replace(handshake(), "/any", "/"+strings.Repeat("a", 4000), 1),
		"never ends":        "GET / HTTP/1.1\r\nX: " + strings.Repeat("y", 3000),
		"just over":         handshake("X: " + strings.Repeat("x", 2048)),
		"without line ends": strings.Repeat("z", 5000),
	} {
		c := dialRaw(t, s)
		c.raw(request)
		if r := c.response(); r.StatusCode != http.StatusRequestHeaderFieldsTooLarge {
			t.Errorf("%s: %s", name, r.Status)
		}
		c.expectGone()
	}
	c := dialRaw(t, s)
	c.raw(handshake("X: " + strings.Repeat("x", 2048-len(handshake())-5)))
	if r := c.response(); r.StatusCode != http.StatusSwitchingProtocols {
		t.Errorf("a head of the limit's length: %s", r.Status)
	}
}

// Differential: what is taken for a request here, net/http takes for the same request.
func FuzzHandshake(f *testing.F) {
	f.Add([]byte(handshake()))
	f.Add([]byte(handshake("Cookie: a=b", "Origin: https://a", "X-Forwarded-For: 1.2.3.4, 5.6.7.8")))
	f.Add([]byte("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello"))
	f.Add([]byte("GET /healthz HTTP/1.0\r\n\r\n"))
	for _, b := range badHandshakes() {
		f.Add([]byte(b))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		end, r := headEnd(data, 0)
		// The same verdict however the head arrives.
		scanned, cutEnd, cutR := 0, 0, (*refusal)(nil)
		for n := 1; n <= len(data) && cutEnd == 0 && cutR == nil; n += 1 + n/3 {
			cutEnd, cutR = headEnd(data[:n], scanned)
			scanned = n
		}
		if cutEnd != 0 && cutEnd != end || cutR != nil && r == nil {
			t.Fatalf("in pieces: %d %v, at once: %d %v", cutEnd, cutR, end, r)
		}
		if r != nil || end == 0 {
			return
		}
		h, r := parseHead(data[:end])
		if r != nil {
			if r.status < 400 || r.status > 499 {
				t.Fatalf("refused with %d", r.status)
			}
			return
		}
		req, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(data[:end])))
		if h.seen&hasUpgrade != 0 && h.checkUpgrade() == nil {
			if err != nil {
				// net/url knows escapes that it does not like; any path upgrades.
				if bytes.ContainsAny(h.target, "%#;[]|^{}\"<>\\`:") {
					return
				}
				t.Fatalf("accepted %q, net/http says %v", data[:end], err)
			}
			if req.Method != http.MethodGet || !strings.EqualFold(req.Header.Get("Upgrade"), "websocket") {
				t.Fatalf("accepted %q, net/http reads %+v", data[:end], req)
			}
			if req.ContentLength > 0 || len(req.TransferEncoding) > 0 {
				t.Fatalf("accepted a body: %q", data[:end])
			}
		}
		if err != nil {
			return
		}
		for name, value := range map[string][]byte{"Origin": h.origin, "User-Agent": h.userAgent, "Upgrade": h.upgrade, "Sec-Websocket-Key": h.key} {
			if got := req.Header.Get(name); got != string(value) {
				t.Fatalf("%s is %q here and %q to net/http: %q", name, value, got, data[:end])
			}
		}
		if got, want := string(bytes.Join(h.cookies, []byte("; "))), strings.Join(req.Header["Cookie"], "; "); got != want {
			t.Fatalf("cookies are %q here and %q to net/http", got, want)
		}
		if req.Host != string(h.host) {
			t.Fatalf("host is %q here and %q to net/http", h.host, req.Host)
		}
	})
}

func BenchmarkParseHead(b *testing.B) {
	request := []byte(handshake("Origin: https://example.com", "User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:130.0)", "Accept-Language: en-US,en;q=0.5",
		"Accept-Encoding: gzip, deflate, br, zstd", "Sec-WebSocket-Extensions: permessage-deflate", "Cookie: session=0123456789abcdef0123456789abcdef", "Pragma: no-cache", "Cache-Control: no-cache"))
	b.Run("here", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			end, _ := headEnd(request, 0)
			if h, r := parseHead(request[:end]); r != nil || h.checkUpgrade() != nil {
				b.Fatal(r)
			}
		}
	})
	b.Run("net-http", func(b *testing.B) {
		b.ReportAllocs()
		br := bufio.NewReader(nil)
		for b.Loop() {
			br.Reset(bytes.NewReader(request))
			if _, err := http.ReadRequest(br); err != nil && !errors.Is(err, io.EOF) {
				b.Fatal(err)
			}
		}
	})
}
