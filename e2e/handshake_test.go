package e2e

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/gobwas/ws"
)

// raw sends bytes as they are on a fresh connection.
func raw(t *testing.T, addr, text string) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(conn, text); err != nil {
		t.Fatal(err)
	}
	return conn
}

// statusOf reads the status of a response and whether the connection then ends; 0 when it ends without one.
func statusOf(t *testing.T, conn net.Conn) (status int, header http.Header, ended bool) {
	t.Helper()
	r := bufio.NewReader(conn)
	res, err := http.ReadResponse(r, nil)
	if err != nil {
		return 0, nil, true
	}
	if res.StatusCode == http.StatusSwitchingProtocols {
		return res.StatusCode, res.Header, false
	}
	if _, err := io.Copy(io.Discard, res.Body); err != nil {
		return res.StatusCode, res.Header, true
	}
	if err := conn.SetReadDeadline(time.Now().Add(3 * time.Second)); err != nil {
		t.Fatal(err)
	}
	_, err = r.ReadByte()
	var timeout net.Error
	stays := errors.As(err, &timeout) && timeout.Timeout()
	return res.StatusCode, res.Header, !stays
}

// upgrade is an honest upgrade request, without the empty line at its end.
const upgrade = "GET / HTTP/1.1\r\nHost: logux.example\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" +
	"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"

// without takes a header out of the upgrade request; with replaces its value.
func without(name string) string { return with(name, "") }

func with(name, value string) string {
	var b strings.Builder
	for line := range strings.SplitAfterSeq(upgrade, "\r\n") {
		if !strings.HasPrefix(line, name+":") {
			b.WriteString(line)
		} else if value != "" {
			b.WriteString(name + ": " + value + "\r\n")
		}
	}
	return b.String()
}

// "4xx and closed (426 with version list)": requests that two readers could understand differently, or that are no upgrade of RFC 6455.
func TestOddHandshakes(t *testing.T) {
	t.Parallel()
	b := newBackend(t)
	p := startProxy(t, b.url, nil)
	const end = "\r\n"
	for name, request := range map[string]string{
		"content length and chunks":      upgrade + "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n" + end + "0\r\n\r\n",
		"two content lengths":            upgrade + "Content-Length: 0\r\nContent-Length: 5\r\n" + end,
		"a content length of letters":    upgrade + "Content-Length: five\r\n" + end,
		"a negative content length":      upgrade + "Content-Length: -1\r\n" + end,
		"a GET with a body":              upgrade + "Content-Length: 5\r\n" + end + "hello",
		"chunks twice":                   upgrade + "Transfer-Encoding: chunked, chunked\r\n" + end + "0\r\n\r\n",
		"an unknown transfer coding":     upgrade + "Transfer-Encoding: xchunked\r\n" + end,
		"a folded header":                upgrade + "X-A: 1\r\n folded\r\n" + end,
		"a space before the colon":       upgrade + "X-A : 1\r\n" + end,
		"a header without a colon":       upgrade + "X-A\r\n" + end,
		"a header without a name":        upgrade + ": 1\r\n" + end,
		"a NUL in a header":              upgrade + "X-A: a\x00b\r\n" + end,
		"a NUL in a name":                upgrade + "X-\x00: a\r\n" + end,
		"a bare CR in a header":          upgrade + "X-A: a\rX-B: b\r\n" + end,
		"two Host":                       upgrade + "Host: other.example\r\n" + end,
		"no Host":                        without("Host") + end,
		"a Host with a path":             with("Host", "a/b") + end,
		"no Upgrade":                     without("Upgrade") + "Content-Length: x\r\n" + end,
		"another Upgrade":                with("Upgrade", "h2c") + end,
		"no Connection":                  without("Connection") + end,
		"Connection: keep-alive":         with("Connection", "keep-alive") + end,
		"no key":                         without("Sec-WebSocket-Key") + end,
		"a short key":                    with("Sec-WebSocket-Key", "c2hvcnQ=") + end,
		"a long key":                     with("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZSBpcyB0b28gbG9uZw==") + end,
		"two keys":                       upgrade + "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZA==\r\n" + end,
		"no version":                     without("Sec-WebSocket-Version") + end,
		"version 7":                      with("Sec-WebSocket-Version", "7") + end,
		"version 130":                    with("Sec-WebSocket-Version", "130") + end,
		"POST":                           strings.Replace(upgrade, "GET", "POST", 1) + end,
		"get in small letters":           strings.Replace(upgrade, "GET", "get", 1) + end,
		"CONNECT":                        strings.Replace(upgrade, "GET /", "CONNECT a:1", 1) + end,
		"HTTP/1.0":                       strings.Replace(upgrade, "HTTP/1.1", "HTTP/1.0", 1) + end,
		"HTTP/0.9":                       "GET /\r\n",
		"HTTP/2 preface":                 "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
		"h2c upgrade":                    "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\nPRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
		"a space in the path":            strings.Replace(upgrade, "GET /", "GET /a b", 1) + end,
		"two spaces after the method":    strings.Replace(upgrade, "GET /", "GET  /", 1) + end,
		"a space in front":               " " + upgrade + end,
		"64 KiB of headers":              upgrade + strings.Repeat("X-A: "+strings.Repeat("a", 1000)+"\r\n", 66) + end,
		"a header of 64 KiB":             upgrade + "X-A: " + strings.Repeat("a", 64<<10) + "\r\n" + end,
		"1,000 headers":                  upgrade + strings.Repeat("X-A: a\r\n", 10000) + end,
		"a path of 64 KiB":               strings.Replace(upgrade, "GET /", "GET /"+strings.Repeat("a", 64<<10), 1) + end,
		"TLS":                            "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + strings.Repeat("\x00", 64) + "\r\n\r\n",
		"a path with a wrong escape":     "GET /a%3 HTTP/1.1\r\nHost: a\r\n\r\n",
		"a body that is longer than 1GB": "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1099511627776\r\n\r\n",
	} {
		status, header, ended := statusOf(t, raw(t, p.addr, request))
		if status != 0 && (status < 400 || status > 499) && status != 505 && status != 501 {
			t.Errorf("%s was answered with %d, want 4xx or the end", name, status)
		}
		if !ended {
			t.Errorf("%s: the connection stays open after %d", name, status)
		}
		if strings.HasPrefix(name, "version ") && (status != http.StatusUpgradeRequired || header.Get("Sec-WebSocket-Version") != "13") {
			t.Errorf("%s was answered with %d and version list %q, want 426 and 13", name, status, header.Get("Sec-WebSocket-Version"))
		}
	}
	if n := len(b.Commands()); n != 0 {
		t.Errorf("the back-end was asked %d times", n)
	}
}

// What differs in form only is accepted, and messages that come in one packet with the upgrade are handled after the 101.
func TestHonestHandshakes(t *testing.T) {
	t.Parallel()
	b := newBackend(t)
	p := startProxy(t, b.url, nil)
	for name, request := range map[string]string{
		"plain":                    upgrade,
		"any path and query":       strings.Replace(upgrade, "GET /", "GET /any/path?a=b&c=%20", 1),
		"small letters":            strings.NewReplacer("Upgrade:", "upgrade:", "Connection:", "connection:", "Sec-WebSocket-Key", "sec-websocket-key", "Host:", "host:").Replace(upgrade),
		"capitals in the value":    with("Upgrade", "WebSocket"),
		"Connection as a list":     with("Connection", "keep-alive, Upgrade"),
		"headers of a browser":     upgrade + "Pragma: no-cache\r\nUser-Agent: Mozilla/5.0\r\nAccept-Encoding: gzip, br\r\nSec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\nCookie: a=b; c=d\r\n",
		"a WebSocket subprotocol":  upgrade + "Sec-WebSocket-Protocol: logux\r\n",
		"values without a space":   strings.ReplaceAll(upgrade, ": ", ":"),
		"7 KiB of cookies":         upgrade + "Cookie: a=" + strings.Repeat("b", 7<<10) + "\r\n",
		"X-Forwarded-For, ignored": upgrade + "X-Forwarded-For: 1.2.3.4\r\nForwarded: for=1.2.3.4\r\n",
	} {
		user := "hand" + fmt.Sprint(len(name))
		early := ws.MustCompileFrame(ws.MaskFrame(ws.NewTextFrame([]byte(connectMessage(user+":a:b", dialOptions{})))))
		conn := raw(t, p.addr, request+"\r\n"+string(early))
		r := bufio.NewReader(conn)
		res, err := http.ReadResponse(r, nil)
		if err != nil || res.StatusCode != http.StatusSwitchingProtocols {
			t.Errorf("%s was answered with %v %v, want 101", name, res, err)
			continue
		}
		if res.Header.Get("Sec-WebSocket-Accept") != "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" || res.Header.Get("Sec-WebSocket-Extensions") != "" {
			t.Errorf("%s was answered with the headers %v", name, res.Header)
		}
		got := ""
		for !strings.Contains(got, "connected") {
			frame, err := ws.ReadHeader(r)
			if err != nil {
				t.Errorf("%s: after %q: %v", name, got, err)
				break
			}
			payload := make([]byte, frame.Length)
			if _, err := io.ReadFull(r, payload); err != nil {
				t.Errorf("%s: after %q: %v", name, got, err)
				break
			}
			got += string(payload)
		}
	}
}

// "1-byte fragments, endless empty continuations, never a FIN: closed 1008/1009 at ≤ 1,024 fragments or the message limit; memory ≤ 2 × limit".
func TestFragmentsAreBounded(t *testing.T) {
	t.Parallel()
	b := newBackend(t)
	p := startProxy(t, b.url, settings{"LOGUX_MAX_MESSAGE": "1MB"})
	before := p.peakMemory(t)
	big := strings.Repeat("x", 64<<10)
	for name, next := range map[string]string{
		"1-byte fragments":     fragment(ws.OpContinuation, false, " "),
		"empty continuations":  fragment(ws.OpContinuation, false, ""),
		"pings between":        fragment(ws.OpContinuation, false, " ") + fragment(ws.OpPing, true, "x"),
		"64 KiB without a FIN": fragment(ws.OpContinuation, false, big),
	} {
		c := open(t, p.addr, "38:frag:tab", dialOptions{})
		c.send(t, connectMessage("38:frag:tab", dialOptions{}))
		c.awaitMessage(t, "connected", 1)
		sent := 0
		_, err := io.WriteString(c.conn, fragment(ws.OpText, false, "["))
		for ; err == nil && sent < 100000; sent++ {
			if _, gone := c.gone(); gone {
				break
			}
			_, err = io.WriteString(c.conn, next)
		}
		code := c.awaitClosed(t)
		if code != 0 && code != ws.StatusPolicyViolation && code != ws.StatusMessageTooBig {
			t.Errorf("%s were ended with %d, want 1008 or 1009", name, code)
		}
		if sent == 100000 {
			t.Errorf("%s: 100,000 of them were taken", name)
		}
	}
	limit := 16 << 20 // 2 × limit for each of four, and the garbage collector's slack
	if raceDetector {
		limit *= 5
	}
	if grown := p.peakMemory(t) - before; grown > limit {
		t.Errorf("peak memory grew by %d MiB, want at most %d MiB", grown>>20, limit>>20)
	}
	// A message in fragments with control frames between them is as good as any.
	c := open(t, p.addr, "38:whole:tab", dialOptions{})
	text := connectMessage("38:whole:tab", dialOptions{})
	wire := fragment(ws.OpText, false, text[:1]) + fragment(ws.OpPing, true, "a") + fragment(ws.OpContinuation, false, "") +
		fragment(ws.OpContinuation, false, text[1:10]) + fragment(ws.OpPong, true, "b") + fragment(ws.OpContinuation, true, text[10:])
	for i := range len(wire) { // byte by byte
		if _, err := io.WriteString(c.conn, wire[i:i+1]); err != nil {
			t.Fatal(err)
		}
	}
	c.awaitMessage(t, "connected", 1)
}

// fragment is one masked frame of a client.
func fragment(op ws.OpCode, fin bool, payload string) string {
	return string(ws.MustCompileFrame(ws.MaskFrame(ws.NewFrame(op, fin, []byte(payload)))))
}

// Lengths that are declared and never come cost nothing, and frames that RFC 6455 forbids end the connection with 1002 or 1009.
func TestForbiddenFrames(t *testing.T) {
	t.Parallel()
	b := newBackend(t)
	p := startProxy(t, b.url, nil)
	before := p.peakMemory(t)
	length := func(n uint64) string {
		return "\x81\xff" + string(binary.BigEndian.AppendUint64(nil, n)) + "\x00\x00\x00\x00"
	}
	for name, frame := range map[string]string{
		"2 GiB":               length(1 << 31),
		"1 TiB":               length(1 << 40),
		"2^63-1":              length(1<<63 - 1),
		"2^63":                length(1 << 63),
		"no mask":             "\x81\x02[]",
		"reserved bit":        "\xc1\x80\x00\x00\x00\x00",
		"reserved opcode":     "\x83\x80\x00\x00\x00\x00",
		"fragmented ping":     "\x09\x80\x00\x00\x00\x00",
		"ping of 126 bytes":   "\x89\xfe\x00\x7e\x00\x00\x00\x00" + strings.Repeat("a", 126),
		"lone continuation":   "\x80\x80\x00\x00\x00\x00",
		"text in text":        fragment(ws.OpText, false, "[") + fragment(ws.OpText, true, "]"),
		"close with one byte": "\x88\x81\x00\x00\x00\x00\x03",
		"close code 1005":     "\x88\x82\x00\x00\x00\x00\x03\xed",
		"not UTF-8":           fragment(ws.OpText, true, "\xff"),
	} {
		c := open(t, p.addr, "38:frame:tab", dialOptions{})
		if _, err := io.WriteString(c.conn, frame); err != nil {
			t.Fatal(err)
		}
		switch code := c.awaitClosed(t); code {
		case ws.StatusProtocolError, ws.StatusMessageTooBig, ws.StatusInvalidFramePayloadData:
		default:
			t.Errorf("%s was ended with %d, want 1002, 1007 or 1009", name, code)
		}
	}
	limit := 16 << 20
	if raceDetector {
		limit *= 5
	}
	if grown := p.peakMemory(t) - before; grown > limit {
		t.Errorf("peak memory grew by %d MiB over declared lengths", grown>>20)
	}
}
