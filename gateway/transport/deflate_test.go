package transport

import (
	"bytes"
	"compress/flate"
	"io"
	"math/rand/v2"
	"runtime"
	"strings"
	"testing"

	"github.com/gobwas/ws"
)

// deflate compresses as RFC 7692 says, with the standard library alone.
func deflate(t testing.TB, p []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	w, err := flate.NewWriter(&b, flate.BestCompression)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(p); err != nil {
		t.Fatal(err)
	}
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\x00\x00\xff\xff"))
}

// inflate expands, and fails when a reference goes back further than window.
func inflate(t testing.TB, p []byte, window int) []byte {
	t.Helper()
	plain, err := io.ReadAll(flate.NewReader(io.MultiReader(bytes.NewReader(p), strings.NewReader("\x00\x00\xff\xff\x01\x00\x00\xff\xff"))))
	if err != nil {
		t.Fatal(err)
	}
	if window < 1<<15 {
		checkWindow(t, p, plain, window)
	}
	return plain
}

// checkWindow checks that no part of the stream refers to bytes further back than window: each run
// of window bytes, compressed apart, can be expanded without what was before it.
func checkWindow(t testing.TB, p, plain []byte, window int) {
	t.Helper()
	for from := 0; from < len(plain); from += window {
		end := bytes.Index(p, []byte("\x00\x00\xff\xff"))
		part := p
		if end >= 0 && from+window < len(plain) {
			part, p = p[:end], p[end+4:]
		}
		got, err := io.ReadAll(flate.NewReader(io.MultiReader(bytes.NewReader(part), strings.NewReader("\x00\x00\xff\xff\x01\x00\x00\xff\xff"))))
		if err != nil || !bytes.Equal(got, plain[from:min(from+window, len(plain))]) {
			t.Fatalf("part at %d refers beyond a window of %d: %v", from, window, err)
		}
	}
}

func TestCompressionIsNotNegotiatedByDefault(t *testing.T) {
	s := serve(t, &script{message: echo}, nil)
	c := dialRaw(t, s)
	if r := c.upgrade("Sec-WebSocket-Extensions: permessage-deflate"); r.Header.Get("Sec-WebSocket-Extensions") != "" {
		t.Errorf("%v", r.Header)
	}
	c.raw(string(withBits(sendText(true, "x"), 4)))
	c.expectClose(1002)
}

func TestDeflateBombIsClosedAtTheLimit(t *testing.T) {
	bomb := deflate(t, make([]byte, 20<<20))
	inAllModes(t, func(t *testing.T, mode func(*Config)) {
		reasons := make(chan CloseReason, 1)
		s := serve(t, &script{
			message: func(_ *Conn, p []byte) { t.Errorf("a message of %d bytes", len(p)) },
			closed:  func(_ *Conn, r CloseReason) { reasons <- r },
		}, func(c *Config) { mode(c); c.Compression = true })
		c := dialRaw(t, s)
		c.upgrade("Sec-WebSocket-Extensions: permessage-deflate")
		c.raw(string(withBits(frame(ws.OpText, true, bomb), 4)))
		c.expectClose(1009)
		if r := receive(t, reasons); r != CloseTooBig {
			t.Errorf("reason %d", r)
		}
	})
}

func TestExpandHoldsNoMoreThanTheLimit(t *testing.T) {
	d := newDeflater()
	const limit = 1 << 20
	bomb := deflate(t, make([]byte, 50<<20))
	if _, v := d.expand(bomb, limit, false); v != errMessageTooBig {
		t.Fatal(v)
	}
	if cap(d.plain) > limit+inflateSlack {
		t.Errorf("%d bytes held", cap(d.plain))
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	if _, v := d.expand(bomb, limit, false); v != errMessageTooBig {
		t.Fatal(v)
	}
	runtime.ReadMemStats(&after)
	if grown := after.TotalAlloc - before.TotalAlloc; grown > 4*limit {
		t.Errorf("%d bytes allocated", grown)
	}
	if p, v := d.expand(deflate(t, make([]byte, limit)), limit, false); v != nil || len(p) != limit {
		t.Errorf("a message of the limit's length: %d bytes, %v", len(p), v)
	}
}

func TestExpandRefusesWhatIsNotDeflate(t *testing.T) {
	d := newDeflater()
	for _, p := range []string{"\xff\xff\xff", "\x06", "\x00\x05\x00\x00\x00hello"} {
		if _, v := d.expand([]byte(p), 1000, true); v != errDeflate {
			t.Errorf("%x: %v", p, v)
		}
	}
	if _, v := d.expand(deflate(t, []byte("\xff\xfe")), 1000, true); v != errText {
		t.Errorf("text not UTF-8: %v", v)
	}
	// RFC 7692, section 7.2.3: its examples.
	for name, p := range map[string]string{
		"one block":          "\xf2\x48\xcd\xc9\xc9\x07\x00",
		"stored":             "\x00\x05\x00\xfa\xff\x48\x65\x6c\x6c\x6f\x00",
		"BFINAL set":         "\xf3\x48\xcd\xc9\xc9\x07\x00\x00",
		"two blocks":         "\xf2\x48\x05\x00\x00\x00\xff\xff\xca\xc9\xc9\x07\x00",
		"no compression end": "\x00\x05\x00\xfa\xff\x48\x65\x6c\x6c\x6f\x00",
	} {
		if got, v := d.expand([]byte(p), 1000, true); v != nil || string(got) != "Hello" {
			t.Errorf("%s: %q, %v", name, got, v)
		}
	}
	if got, v := d.expand([]byte{0}, 1000, true); v != nil || len(got) != 0 {
		t.Errorf("the empty message of section 7.2.3.6: %q, %v", got, v)
	}
}

func FuzzExpand(f *testing.F) {
	f.Add(deflate(f, []byte("hello hello hello")), true)
	f.Add(deflate(f, make([]byte, 5000)), false)
	d := newDeflater()
	f.Fuzz(func(t *testing.T, p []byte, text bool) {
		const limit = 4096
		got, v := d.expand(p, limit, text)
		if v == nil && len(got) > limit {
			t.Fatalf("%d bytes", len(got))
		}
		// What is compressed here is expanded to the same.
		for _, bits := range []uint8{8, 12, 15} {
			if packed, ok := d.compress(p, bits); ok {
				if back := inflate(t, bytes.Clone(packed), 1<<bits); !bytes.Equal(back, p) {
					t.Fatalf("window bits %d: %x came back as %x", bits, p, back)
				}
			}
		}
	})
}

func TestCompressionAllocatesNothing(t *testing.T) {
	d := newDeflater()
	p := sample(rand.New(rand.NewPCG(1, 1)), "json", 2000)
	packed := deflate(t, p)
	if n := testing.AllocsPerRun(50, func() {
		if _, ok := d.compress(p, 15); !ok {
			t.Fatal("not compressed")
		}
		if _, v := d.expand(packed, 1<<20, true); v != nil {
			t.Fatal(v)
		}
	}); n > 3 { // flate's own tables
		t.Errorf("%v allocations", n)
	}
}
