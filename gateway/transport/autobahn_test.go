package transport

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/gobwas/ws"
)

// The families of cases of the Autobahn test suite, rebuilt from its list, against an echo handler.
// A case sends pieces and expects frames; "clean" means that the close handshake is then done by
// the client, "fail" that the server fails the connection with a code.
type autobahnCase struct {
	id     string
	send   []byte
	chop   int // bytes a piece; 0 = all at once
	expect []ws.Frame
	code   uint16 // with which the server fails; 0 = it does not
}

func text1(s string) ws.Frame { return ws.NewTextFrame([]byte(s)) }
func bin(p []byte) ws.Frame   { return ws.NewBinaryFrame(p) }
func pong(s string) ws.Frame  { return ws.NewPongFrame([]byte(s)) }
func closed(code uint16) ws.Frame {
	return ws.NewCloseFrame(ws.NewCloseFrameBody(ws.StatusCode(code), ""))
}
func sendText(fin bool, s string) []byte  { return frame(ws.OpText, fin, []byte(s)) }
func sendCont(fin bool, s string) []byte  { return frame(ws.OpContinuation, fin, []byte(s)) }
func sendPing(s string) []byte            { return frame(ws.OpPing, true, []byte(s)) }
func withBits(f []byte, bits byte) []byte { f = bytes.Clone(f); f[0] |= bits << 4; return f }

func autobahnCases() []autobahnCase {
	var cases []autobahnCase
	add := func(id string, send []byte, expect []ws.Frame, code uint16, chops ...int) {
		for _, chop := range append([]int{0}, chops...) {
			name := id
			if chop > 0 {
				name += fmt.Sprintf(" in pieces of %d", chop)
			}
			cases = append(cases, autobahnCase{name, send, chop, expect, code})
		}
	}
	f := func(frames ...ws.Frame) []ws.Frame { return frames }

	for i, n := range []int{0, 125, 126, 127, 128, 65535, 65536} {
		s := strings.Repeat("*", n)
		chops := []int(nil)
		if n > 60000 {
			chops = []int{997}
		}
		add(fmt.Sprintf("1.1.%d", i+1), sendText(true, s), f(text1(s)), 0, chops...)
		p := bytes.Repeat([]byte{0xfe}, n)
		add(fmt.Sprintf("1.2.%d", i+1), frame(ws.OpBinary, true, p), f(bin(p)), 0, chops...)
	}

	add("2.1", sendPing(""), f(pong("")), 0)
	add("2.2", sendPing("Hello, world!"), f(pong("Hello, world!")), 0)
	add("2.3", sendPing("\x00\xff\xfe\xfd\xfc\xfb\x00\xff"), f(pong("\x00\xff\xfe\xfd\xfc\xfb\x00\xff")), 0)
	add("2.4", sendPing(strings.Repeat("\xfe", 125)), f(pong(strings.Repeat("\xfe", 125))), 0, 1)
	add("2.5", rawFrame(0x89, 0xfe, 0, 126, 1, 2, 3, 4), nil, 1002, 1)
	add("2.7", frame(ws.OpPong, true, nil), nil, 0)
	add("2.8", frame(ws.OpPong, true, []byte("unsolicited")), nil, 0)
	add("2.9", join(frame(ws.OpPong, true, []byte("unsolicited")), sendPing("p")), f(pong("p")), 0)
	var ten []byte
	var tenPongs []ws.Frame
	for i := range 10 {
		ten = append(ten, sendPing(fmt.Sprintf("payload-%d", i))...)
		tenPongs = append(tenPongs, pong(fmt.Sprintf("payload-%d", i)))
	}
	add("2.10", ten, tenPongs, 0, 1)

	hello := sendText(true, "Hello, world!")
	for bits := byte(1); bits < 8; bits++ {
		add(fmt.Sprintf("3.%d", bits), join(hello, withBits(hello, bits), sendPing("")), f(text1("Hello, world!")), 1002, 1)
	}
	add("3.6 binary", withBits(frame(ws.OpBinary, true, []byte("\x00\xff")), 6), nil, 1002)
	add("3.7 ping", withBits(sendPing("x"), 7), nil, 1002)

	for i, op := range []ws.OpCode{3, 4, 5, 6, 7} {
		add(fmt.Sprintf("4.1.%d", i+1), join(hello, frame(op, true, []byte("reserved")), sendPing("")), f(text1("Hello, world!")), 1002, 1)
	}
	for i, op := range []ws.OpCode{11, 12, 13, 14, 15} {
		add(fmt.Sprintf("4.2.%d", i+1), join(hello, frame(op, true, nil), sendPing("")), f(text1("Hello, world!")), 1002, 1)
	}

	add("5.1", join(frame(ws.OpPing, false, []byte("fragment1")), sendCont(true, "fragment2")), nil, 1002)
	add("5.2", join(frame(ws.OpPong, false, []byte("fragment1")), sendCont(true, "fragment2")), nil, 1002)
	two := join(sendText(false, "fragment1"), sendCont(true, "fragment2"))
	add("5.3 to 5.5", two, f(text1("fragment1fragment2")), 0, 1)
	add("5.6 to 5.8", join(sendText(false, "fragment1"), sendPing("ping"), sendCont(true, "fragment2")), f(pong("ping"), text1("fragment1fragment2")), 0, 1)
	add("5.9 to 5.11", join(sendCont(true, "non-continuation"), hello), nil, 1002, 1)
	add("5.12 to 5.14", join(sendCont(false, "non-continuation"), hello), nil, 1002, 1)
	add("5.15", join(two, sendCont(false, "fragment3"), sendText(true, "fragment4")), f(text1("fragment1fragment2")), 1002)
	add("5.16", join(sendCont(false, "fragment1"), sendText(false, "fragment2"), sendCont(true, "fragment3")), nil, 1002)
	add("5.17", join(sendCont(true, "fragment1"), sendText(false, "fragment2")), nil, 1002)
	add("5.18", join(sendText(false, "fragment1"), sendText(true, "fragment2")), nil, 1002)
	five := join(sendText(false, "fragment1"), sendCont(false, "fragment2"), sendPing("ping1"), sendCont(false, "fragment3"), sendCont(false, "fragment4"), sendPing("ping2"), sendCont(true, "fragment5"))
	add("5.19, 5.20", five, f(pong("ping1"), pong("ping2"), text1("fragment1fragment2fragment3fragment4fragment5")), 0, 1)

	add("6.1.1", sendText(true, ""), f(text1("")), 0)
	add("6.1.2", join(sendText(false, ""), sendCont(false, ""), sendCont(true, "")), f(text1("")), 0)
	add("6.1.3", join(sendText(false, ""), sendCont(false, "middle frame payload"), sendCont(true, "")), f(text1("middle frame payload")), 0)
	greek := "Hello-µ@ßöäüàá-UTF-8!!"
	add("6.2.1", sendText(true, greek), f(text1(greek)), 0, 1)
	add("6.2.2", join(sendText(false, greek[:9]), sendCont(true, greek[9:])), f(text1(greek)), 0, 1)
	var bytewise []byte
	for i := range len(greek) {
		if i == 0 {
			bytewise = append(bytewise, sendText(false, greek[:1])...)
		} else {
			bytewise = append(bytewise, sendCont(i == len(greek)-1, greek[i:i+1])...)
		}
	}
	add("6.2.3", bytewise, f(text1(greek)), 0)
	kosme := "\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5"
	add("6.2.4", sendText(true, kosme), f(text1(kosme)), 0, 1)
	add("6.3.1", sendText(true, kosme+"\xed\xa0\x80edited"), nil, 1007, 1)
	add("6.4.1", join(sendText(false, kosme), sendCont(false, "\xf4\x90\x80\x80"), sendCont(true, "edited")), nil, 1007)
	add("6.4.2", join(sendText(false, kosme+"\xf4"), sendCont(false, "\x90"), sendCont(false, "\x80\x80"), sendCont(true, "edited")), nil, 1007)
	for _, s := range []string{"\xce\xba", "\x00", "\xc2\x80", "\xe0\xa0\x80", "\xf0\x90\x80\x80", "\x7f", "\xdf\xbf", "\xef\xbf\xbf", "\xf4\x8f\xbf\xbf", "\xed\x9f\xbf", "\xee\x80\x80", "\xef\xbf\xbd", "\xef\xbf\xbe", "\xf0\x9f\xbf\xbe"} {
		add(fmt.Sprintf("6 valid %x", s), sendText(true, s), f(text1(s)), 0, 1)
	}
	for _, s := range []string{
		"\xce", "\xf8\x88\x80\x80\x80", "\xfc\x84\x80\x80\x80\x80", "\xf7\xbf\xbf\xbf", "\xf4\x90\x80\x80", "\x80", "\xbf", "\x80\xbf\x80", "\xc0 \xc1 ", "\xe0 \xe1 ",
		"\xc0", "\xe0\x80", "\xf0\x80\x80", "\xdf", "\xef\xbf", "\xf7\xbf\xbf", "\xfe", "\xff", "\xc0\xaf", "\xe0\x80\xaf", "\xf0\x80\x80\xaf", "\xc1\xbf", "\xe0\x9f\xbf", "\xf0\x8f\xbf\xbf",
		"\xc0\x80", "\xed\xa0\x80", "\xed\xaf\xbf", "\xed\xb0\x80", "\xed\xbf\xbf", "\xed\xa0\x80\xed\xb0\x80",
	} {
		add(fmt.Sprintf("6 invalid %x", s), sendText(true, s), nil, 1007, 1)
	}

	add("7.1.1", join(hello, closing(1000, "")), f(text1("Hello, world!"), closed(1000)), 0)
	add("7.1.2", join(closing(1000, ""), closing(1000, "")), f(closed(1000)), 0)
	add("7.1.3", join(closing(1000, ""), sendPing("")), f(closed(1000)), 0)
	add("7.1.4", join(closing(1000, ""), hello), f(closed(1000)), 0)
	add("7.1.5", join(sendText(false, "fragment1"), closing(1000, ""), sendCont(true, "fragment2")), f(closed(1000)), 0)
	big := strings.Repeat("BAsd7&jh23", 26_000)
	add("7.1.6", join(sendText(true, big), hello, closing(1000, ""), sendPing("")), f(text1(big), text1("Hello, world!"), closed(1000)), 0)
	add("7.3.1", frame(ws.OpClose, true, nil), f(ws.NewCloseFrame(nil)), 0)
	add("7.3.2", frame(ws.OpClose, true, []byte("a")), nil, 1002)
	add("7.3.3", closing(1000, ""), f(closed(1000)), 0)
	add("7.3.4", closing(1000, "Hello World!"), f(closed(1000)), 0)
	add("7.3.5", closing(1000, strings.Repeat("*", 123)), f(closed(1000)), 0)
	add("7.3.6", rawFrame(0x88, 0xfe, 0, 126, 1, 2, 3, 4), nil, 1002)
	add("7.5.1", closing(1000, kosme+"\xed\xa0\x80edited"), nil, 1007)
	for _, code := range []uint16{1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 3999, 4000, 4999} {
		add(fmt.Sprintf("7.7 %d", code), closing(code, ""), f(closed(code)), 0)
	}
	for _, code := range []uint16{0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535} {
		add(fmt.Sprintf("7.9, 7.13 %d", code), closing(code, ""), nil, 1002)
	}

	for _, n := range []int{64 << 10, 1 << 20, 4 << 20} {
		s, p := strings.Repeat("a", n), bytes.Repeat([]byte{0xfe}, n)
		add(fmt.Sprintf("9.1 %d", n), sendText(true, s), f(text1(s)), 0)
		add(fmt.Sprintf("9.2 %d", n), frame(ws.OpBinary, true, p), f(bin(p)), 0)
	}
	big16 := bytes.Repeat([]byte{0xfe}, 16<<20)
	add("9.2.6", frame(ws.OpBinary, true, big16), f(bin(big16)), 0)
	for _, n := range []int{64, 1024, 65536, 1 << 20} {
		p := bytes.Repeat([]byte{0xfe}, 4<<20)
		var all []byte
		for i := 0; i < len(p); i += n {
			op := ws.OpContinuation
			if i == 0 {
				op = ws.OpBinary
			}
			all = append(all, frame(op, i+n == len(p), p[i:i+n])...)
		}
		add(fmt.Sprintf("9.3, 9.4 %d", n), all, f(bin(p)), 0)
	}
	for _, chop := range []int{64, 512, 2048} {
		s := strings.Repeat("a", 1<<20)
		add("9.5, 9.6", sendText(true, s), f(text1(s)), 0, chop*16)
	}
	s := strings.Repeat("x", 1000)
	var many []byte
	var manyBack []ws.Frame
	for range 1000 {
		many = append(many, sendText(true, s)...)
		manyBack = append(manyBack, text1(s))
	}
	add("9.7, 9.8", many, manyBack, 0)
	auto := strings.Repeat("*", 65536)
	var frags []byte
	for i := 0; i < 65536; i += 1300 {
		end := min(i+1300, 65536)
		if i == 0 {
			frags = append(frags, sendText(false, auto[:end])...)
		} else {
			frags = append(frags, sendCont(end == 65536, auto[i:end])...)
		}
	}
	add("10.1.1", frags, f(text1(auto)), 0)
	return cases
}

// forSuites are the limits under which the suites run: e2e/echo sets the same.
func forSuites(c *Config) {
	c.Limits.Message, c.Limits.Fragments, c.Limits.Output = 32<<20, 1<<20, 64<<20
}

func TestAutobahnFamilies(t *testing.T) {
	inAllModes(t, func(t *testing.T, mode func(*Config)) {
		s := serve(t, &script{message: echo}, func(c *Config) { mode(c); forSuites(c) })
		for _, test := range autobahnCases() {
			t.Run(test.id, func(t *testing.T) {
				c := dial(t, s)
				c.t = t
				go func() {
					// A server that has failed the connection may not take the rest.
					chop := test.chop
					if chop == 0 {
						chop = len(test.send)
					}
					for p := test.send; len(p) > 0; {
						n, err := c.Write(p[:min(chop, len(p))])
						if err != nil {
							return
						}
						p = p[n:]
					}
				}()
				ended := false
				for _, want := range test.expect {
					got := c.next()
					if got.Header.OpCode != want.Header.OpCode || !got.Header.Fin || got.Header.Rsv != 0 || !bytes.Equal(got.Payload, want.Payload) {
						t.Fatalf("got %s, want %s", describe(got.Header.OpCode, got.Payload), describe(want.Header.OpCode, want.Payload))
					}
					ended = ended || want.Header.OpCode == ws.OpClose
				}
				switch {
				case test.code != 0:
					c.expectClose(test.code)
				case !ended:
					c.raw(string(closing(1000, "")))
					c.expectClose(1000)
				}
				// The server ends the TCP connection, and does so cleanly.
				c.expectEnd()
			})
		}
	})
}

// Families 12 and 13: permessage-deflate with every combination of parameters.
func TestAutobahnCompression(t *testing.T) {
	offers := map[string]string{ // offer: answer
		"permessage-deflate":                                                         "permessage-deflate; server_no_context_takeover; client_no_context_takeover",
		"permessage-deflate; client_max_window_bits":                                 "permessage-deflate; server_no_context_takeover; client_no_context_takeover",
		"permessage-deflate; client_max_window_bits=9":                               "permessage-deflate; server_no_context_takeover; client_no_context_takeover",
		"permessage-deflate; client_no_context_takeover; client_max_window_bits":     "permessage-deflate; server_no_context_takeover; client_no_context_takeover",
		"permessage-deflate; server_no_context_takeover":                             "permessage-deflate; server_no_context_takeover; client_no_context_takeover",
		"permessage-deflate; server_max_window_bits=8":                               "permessage-deflate; server_no_context_takeover; client_no_context_takeover; server_max_window_bits=8",
		"permessage-deflate; server_max_window_bits=9":                               "permessage-deflate; server_no_context_takeover; client_no_context_takeover; server_max_window_bits=9",
		"permessage-deflate; server_max_window_bits=15":                              "permessage-deflate; server_no_context_takeover; client_no_context_takeover; server_max_window_bits=15",
		"permessage-deflate; server_no_context_takeover; server_max_window_bits=9":   "permessage-deflate; server_no_context_takeover; client_no_context_takeover; server_max_window_bits=9",
		"permessage-deflate; server_max_window_bits=9, permessage-deflate":           "permessage-deflate; server_no_context_takeover; client_no_context_takeover; server_max_window_bits=9",
		"permessage-deflate; unknown, permessage-deflate; server_max_window_bits=15": "permessage-deflate; server_no_context_takeover; client_no_context_takeover; server_max_window_bits=15",
		"x-webkit-deflate-frame, permessage-deflate; client_max_window_bits":         "permessage-deflate; server_no_context_takeover; client_no_context_takeover",
		"permessage-deflate; server_max_window_bits=7":                               "",
		"permessage-deflate; server_max_window_bits=16":                              "",
		"permessage-deflate; server_max_window_bits":                                 "",
		"permessage-deflate; server_no_context_takeover=1":                           "",
		"permessage-deflate; server_no_context_takeover; server_no_context_takeover": "",
		"permessage-bzip2": "",
	}
	inAllModes(t, func(t *testing.T, mode func(*Config)) {
		s := serve(t, &script{message: echo}, func(c *Config) { mode(c); forSuites(c); c.Compression = true })
		for offer, answer := range offers {
			t.Run(offer, func(t *testing.T) {
				c := dialRaw(t, s)
				r := c.upgrade("Sec-WebSocket-Extensions: " + offer)
				if got := r.Header.Get("Sec-WebSocket-Extensions"); normal(got) != normal(answer) {
					t.Fatalf("answered %q, want %q", got, answer)
				}
				if answer == "" {
					c.raw(string(withBits(sendText(true, "x"), 4)))
					c.expectClose(1002)
					return
				}
				random := rand.New(rand.NewPCG(12, 13))
				window := 1 << 15
				if strings.Contains(answer, "bits=8") {
					window = 1 << 8
				} else if strings.Contains(answer, "bits=9") {
					window = 1 << 9
				}
				for _, n := range []int{0, 1, 16, 64, 256, 511, 512, 513, 1024, 4096, 8192, 32768, 70_000} {
					for _, kind := range []string{"json", "noise"} {
						plain := sample(random, kind, n)
						op := ws.OpText
						if kind == "noise" {
							op = ws.OpBinary
						}
						packed := deflate(t, plain)
						var all []byte
						switch n % 3 {
						case 0: // in one frame
							all = withBits(frame(op, true, packed), 4)
						case 1: // in two
							all = join(withBits(frame(op, false, packed[:len(packed)/2]), 4), sendPing("between"), frame(ws.OpContinuation, true, packed[len(packed)/2:]))
						case 2: // a message of that connection may also be sent as it is
							all = frame(op, true, plain)
						}
						go c.raw(string(all))
						got := c.next()
						if got.Header.OpCode == ws.OpPong {
							got = c.next()
						}
						back := got.Payload
						if got.Header.Rsv1() {
							back = inflate(t, got.Payload, window)
							if n < minDeflate || len(got.Payload) >= n {
								t.Errorf("%d bytes of %s sent as %d compressed ones", n, kind, len(got.Payload))
							}
						} else if kind == "json" && n >= 4096 {
							t.Errorf("%d bytes of %s sent as they are", n, kind)
						}
						if got.Header.OpCode != op || !bytes.Equal(back, plain) {
							t.Fatalf("%d bytes of %s came back as %s", n, kind, describe(got.Header.OpCode, back))
						}
					}
				}
				c.raw(string(closing(1000, "")))
				c.expectClose(1000)
				c.expectEnd()
			})
		}
	})
}

// normal makes header values comparable.
func normal(s string) string { return strings.ReplaceAll(s, " ", "") }

// sample is a message of n bytes.
func sample(r *rand.Rand, kind string, n int) []byte {
	p := make([]byte, 0, n+64)
	for len(p) < n {
		if kind == "json" {
			p = fmt.Appendf(p, `{"type":"add","channel":"posts/%d","value":%d},`, r.IntN(20), r.IntN(1000))
		} else {
			p = append(p, byte(r.Uint32()))
		}
	}
	return p[:n]
}
