package transport

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/gobwas/ws"
)

// testRules are small enough to be met.
func testRules() *frameRules {
	return &frameRules{message: 1 << 20, fragments: 1024, pool: new(buffers)}
}

// read feeds pieces to a framer and writes down what comes out: one line per event, and the violation.
func read(rules *frameRules, deflate bool, pieces ...[]byte) []string {
	var f framer
	var got []string
	for _, p := range pieces {
		data := bytes.Clone(p) // next unmasks in place
		for len(data) > 0 {
			ev, n, v := f.next(data, rules, deflate)
			data = data[n:]
			if v != nil {
				f.reset(rules.pool)
				return append(got, fmt.Sprintf("fail %d: %s", v.code, v.text))
			}
			switch ev.kind {
			case eventNone:
				if len(data) > 0 {
					return append(got, "stopped before the end")
				}
			case eventMessage:
				got = append(got, fmt.Sprintf("message binary=%v deflate=%v %x", ev.binary, ev.deflate, ev.payload))
			default:
				got = append(got, fmt.Sprintf("control %d %x", ev.kind, ev.payload))
			}
		}
	}
	if !f.idle() {
		got = append(got, "incomplete")
	}
	f.reset(rules.pool)
	return got
}

// cuts are the pieces of b cut at each of the places, which grow.
func cuts(b []byte, places ...int) [][]byte {
	var pieces [][]byte
	from := 0
	for _, p := range places {
		pieces = append(pieces, b[from:p])
		from = p
	}
	return append(pieces, b[from:])
}

// raw is a frame's header written by hand, for what no library would write.
func rawFrame(first, second byte, rest ...byte) []byte {
	return append([]byte{first, second}, rest...)
}

func join(frames ...[]byte) []byte { return bytes.Join(frames, nil) }

// rfc6455 quotes the sentences that bind a server that reads frames.
var rfc6455 = []struct {
	says    string
	deflate bool
	stream  []byte
	want    []string
}{
	{says: "5.7: A single-frame masked text message", stream: []byte{0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58},
		want: []string{"message binary=false deflate=false 48656c6c6f"}},
	{says: "5.6: The Payload data is arbitrary binary data", stream: frame(ws.OpBinary, true, []byte{0xff, 0xfe}),
		want: []string{"message binary=true deflate=false fffe"}},
	{says: "5.2: Payload length 0", stream: text(""), want: []string{"message binary=false deflate=false "}},
	{says: "5.2: if 126, the following 2 bytes are the payload length", stream: text(strings.Repeat("a", 126)),
		want: []string{"message binary=false deflate=false " + strings.Repeat("61", 126)}},
	{says: "5.2: if 127, the following 8 bytes are the payload length", stream: text(strings.Repeat("a", 65536)),
		want: []string{"message binary=false deflate=false " + strings.Repeat("61", 65536)}},
	{says: "5.2: the minimal number of bytes MUST be used to encode the length (16 bits)",
		stream: rawFrame(0x82, 0xfe, 0, 125), want: []string{"fail 1002: length not in its shortest form"}},
	{says: "5.2: the minimal number of bytes MUST be used to encode the length (64 bits)",
		stream: rawFrame(0x82, 0xff, 0, 0, 0, 0, 0, 0, 0xff, 0xff), want: []string{"fail 1002: length not in its shortest form"}},
	{says: "5.2: the most significant bit MUST be 0",
		stream: rawFrame(0x82, 0xff, 0x80, 0, 0, 0, 0, 0, 0, 0), want: []string{"fail 1002: length not in its shortest form"}},
	{says: "5.2: RSV1 MUST be 0 unless an extension is negotiated", stream: rawFrame(0xc1, 0x80, 1, 2, 3, 4), want: []string{"fail 1002: reserved bits"}},
	{says: "5.2: RSV2 MUST be 0", stream: rawFrame(0xa1, 0x80), want: []string{"fail 1002: reserved bits"}},
	{says: "5.2: RSV3 MUST be 0", stream: rawFrame(0x91, 0x80), want: []string{"fail 1002: reserved bits"}},
	{says: "5.2: RSV2 MUST be 0, with permessage-deflate too", deflate: true, stream: rawFrame(0xe1, 0x80), want: []string{"fail 1002: reserved bits"}},
	{says: "5.2: If an unknown opcode is received, the receiving endpoint MUST _Fail the WebSocket Connection_ (3)",
		stream: rawFrame(0x83, 0x80), want: []string{"fail 1002: reserved opcode"}},
	{says: "5.2: unknown opcode (7), after a message", stream: join(text("a"), rawFrame(0x87, 0x80)),
		want: []string{"message binary=false deflate=false 61", "fail 1002: reserved opcode"}},
	{says: "5.2: unknown control opcode (11)", stream: rawFrame(0x8b, 0x80), want: []string{"fail 1002: reserved opcode"}},
	{says: "5.2: unknown control opcode (15)", stream: rawFrame(0x8f, 0x80), want: []string{"fail 1002: reserved opcode"}},
	{says: "5.1: The server MUST close the connection upon receiving a frame that is not masked",
		stream: rawFrame(0x81, 0x05, 'h', 'e', 'l', 'l', 'o'), want: []string{"fail 1002: frame not masked"}},
	{says: "5.4: a fragmented message: FIN clear and opcode not 0, then continuations, then FIN set and opcode 0",
		stream: join(frame(ws.OpText, false, []byte("a")), frame(ws.OpContinuation, false, []byte("b")), frame(ws.OpContinuation, true, []byte("c"))),
		want:   []string{"message binary=false deflate=false 616263"}},
	{says: "5.4: fragments may be empty", stream: join(frame(ws.OpBinary, false, nil), frame(ws.OpContinuation, false, nil), frame(ws.OpContinuation, true, nil)),
		want: []string{"message binary=true deflate=false "}},
	{says: "5.4: Control frames MAY be injected in the middle of a fragmented message",
		stream: join(frame(ws.OpText, false, []byte("a")), frame(ws.OpPing, true, []byte("p")), frame(ws.OpContinuation, true, []byte("b")), frame(ws.OpPong, true, nil)),
		want:   []string{"control 2 70", "message binary=false deflate=false 6162", "control 3 "}},
	{says: "5.4: Control frames themselves MUST NOT be fragmented", stream: rawFrame(0x09, 0x80), want: []string{"fail 1002: fragmented control frame"}},
	{says: "5.4: a continuation needs a message", stream: frame(ws.OpContinuation, true, []byte("x")), want: []string{"fail 1002: continuation of nothing"}},
	{says: "5.4: a continuation needs a message that is not finished", stream: join(text("a"), frame(ws.OpContinuation, false, nil)),
		want: []string{"message binary=false deflate=false 61", "fail 1002: continuation of nothing"}},
	{says: "5.4: The fragments of one message MUST NOT be interleaved between the fragments of another message",
		stream: join(frame(ws.OpText, false, []byte("a")), text("b")), want: []string{"fail 1002: message within a message"}},
	{says: "5.5: All control frames MUST have a payload length of 125 bytes or less", stream: rawFrame(0x89, 0xfe, 0, 126), want: []string{"fail 1002: control frame too long"}},
	{says: "5.5: 125 bytes are allowed", stream: frame(ws.OpPing, true, bytes.Repeat([]byte{1}, 125)), want: []string{"control 2 " + strings.Repeat("01", 125)}},
	{says: "5.5.1: a close frame may be empty", stream: frame(ws.OpClose, true, nil), want: []string{"control 4 "}},
	{says: "8.1: not UTF-8: MUST _Fail the WebSocket Connection_", stream: text("\xce\xba\xe1\xbd\xb9\xed\xa0\x80edited"), want: []string{"fail 1007: text is not UTF-8"}},
	{says: "8.1: UTF-8 across fragments", stream: join(frame(ws.OpText, false, []byte("\xf0\x9f")), frame(ws.OpContinuation, true, []byte("\x98\x80"))),
		want: []string{"message binary=false deflate=false f09f9880"}},
	{says: "8.1: text ends within a rune", stream: join(frame(ws.OpText, false, []byte("a\xf0\x9f")), frame(ws.OpContinuation, true, nil)),
		want: []string{"fail 1007: text is not UTF-8"}},
	{says: "8.1: fails with the fragment that is wrong, not at the end of the message",
		stream: join(frame(ws.OpText, false, []byte("a\xf4\x90")), frame(ws.OpContinuation, false, []byte("b"))), want: []string{"fail 1007: text is not UTF-8"}},
	{says: "8.1: fails at the octet that is wrong, not at the end of the frame", stream: frame(ws.OpText, true, []byte("a\xf4\x90\x80\x80 and the rest"))[:9],
		want: []string{"fail 1007: text is not UTF-8"}},
	{says: "7692 6.1: the first fragment of a compressed message bears RSV1", deflate: true,
		stream: join(rawFrame(0x41, 0x81, 0, 0, 0, 0, 'x'), rawFrame(0x80, 0x81, 0, 0, 0, 0, 'y')), want: []string{"message binary=false deflate=true 7879"}},
	{says: "7692 6.1: no other fragment bears it", deflate: true,
		stream: join(rawFrame(0x41, 0x81, 0, 0, 0, 0, 'x'), rawFrame(0xc0, 0x81, 0, 0, 0, 0, 'y')), want: []string{"fail 1002: reserved bits"}},
	{says: "7692 6.1: no control frame bears it", deflate: true, stream: rawFrame(0xc9, 0x80), want: []string{"fail 1002: reserved bits"}},
	{says: "7692 6.2: a message without it is not compressed", deflate: true, stream: text("x"), want: []string{"message binary=false deflate=false 78"}},
}

func TestRFC6455CutAtEveryByte(t *testing.T) {
	for _, test := range rfc6455 {
		t.Run(test.says, func(t *testing.T) {
			if got := read(testRules(), test.deflate, test.stream); !slices.Equal(got, test.want) {
				t.Fatalf("in one piece: %.300q, want %.300q", got, test.want)
			}
			step := max(1, len(test.stream)/300)
			for i := 1; i < len(test.stream); i += step {
				if got := read(testRules(), test.deflate, cuts(test.stream, i)...); !slices.Equal(got, test.want) {
					t.Fatalf("cut at %d: %.300q, want %.300q", i, got, test.want)
				}
			}
			if len(test.stream) < 1000 {
				single := make([]int, len(test.stream)-1)
				for i := range single {
					single[i] = i + 1
				}
				if got := read(testRules(), test.deflate, cuts(test.stream, single...)...); !slices.Equal(got, test.want) {
					t.Fatalf("byte by byte: %.300q, want %.300q", got, test.want)
				}
			}
		})
	}
}

// Section 7.4 and the registry of close codes.
func TestCloseCodes(t *testing.T) {
	allowed := []int{1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014}
	for code := range 1 << 16 {
		got, v := checkClose(binary.BigEndian.AppendUint16(nil, uint16(code)))
		ok := slices.Contains(allowed, code) || code >= 3000 && code < 5000
		if (v == nil) != ok || ok && int(got) != code || !ok && v.code != 1002 {
			t.Fatalf("code %d: %d, %v", code, got, v)
		}
	}
	if _, v := checkClose([]byte{3}); v != errClosePayload {
		t.Error("a payload of one byte:", v)
	}
	if code, v := checkClose(nil); code != 0 || v != nil {
		t.Error("no payload:", code, v)
	}
	if _, v := checkClose([]byte("\x03\xe8\xce\xba\xff")); v != errText {
		t.Error("reason not UTF-8:", v)
	}
	if code, v := checkClose([]byte("\x03\xe8ok")); code != 1000 || v != nil {
		t.Error("reason:", code, v)
	}
}

func TestAppendCloseKeepsWithinAControlFrame(t *testing.T) {
	p := appendClose(nil, 1000, strings.Repeat("\u00e9", 100))
	if len(p) > 2+125 || p[1] != byte(len(p)-2) || !utf8.Valid(p[4:]) {
		t.Errorf("%d bytes: %q", len(p), p)
	}
	if p := appendClose(nil, 0, "ignored"); !bytes.Equal(p, []byte{0x88, 0}) {
		t.Errorf("without a code: %x", p)
	}
}

func TestAppendHeaderAgreesWithTheLibrary(t *testing.T) {
	for _, n := range []int{0, 1, 125, 126, 127, 65535, 65536, 1 << 20} {
		var want bytes.Buffer
		if err := ws.WriteHeader(&want, ws.Header{Fin: true, OpCode: ws.OpText, Length: int64(n)}); err != nil {
			t.Fatal(err)
		}
		if got := appendHeader(nil, ws.OpText, false, n); !bytes.Equal(got, want.Bytes()) {
			t.Errorf("%d: %x, want %x", n, got, want.Bytes())
		}
	}
}

func TestCipherAgreesWithANaiveOne(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	buf := make([]byte, 400)
	for range 3000 {
		from := r.IntN(40)
		p := buf[from : from+r.IntN(len(buf)-from)]
		for i := range p {
			p[i] = byte(r.Uint32())
		}
		mask := [4]byte{byte(r.Uint32()), byte(r.Uint32()), byte(r.Uint32()), byte(r.Uint32())}
		offset := r.IntN(9)
		want := bytes.Clone(p)
		for i := range want {
			want[i] ^= mask[(i+offset)%4]
		}
		if ws.Cipher(p, mask, offset); !bytes.Equal(p, want) {
			t.Fatalf("length %d, offset %d", len(p), offset)
		}
	}
}

// A declared length costs nothing: at most 64 KiB are held for what has not arrived.
func TestDeclaredLengthsAllocateNothing(t *testing.T) {
	for _, test := range []struct {
		length uint64
		limit  int
		want   *violation
	}{
		{1 << 20, 1 << 20, nil},
		{1<<20 + 1, 1 << 20, errMessageTooBig},
		{1 << 31, 1 << 20, errMessageTooBig},
		{1 << 31, 1 << 32, nil},
		{1 << 40, 1 << 20, errMessageTooBig},
		{1<<63 - 1, 1 << 20, errMessageTooBig},
		{1 << 63, 1 << 20, errLength},
		{1<<64 - 1, 1 << 20, errLength},
	} {
		rules := testRules()
		rules.message = test.limit
		head := binary.BigEndian.AppendUint64([]byte{0x82, 0xff}, test.length)
		head = append(head, 1, 2, 3, 4)
		if test.length>>63 != 0 {
			head = head[:10]
		}
		piece := make([]byte, 1000)
		var f framer
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, _, v := f.next(append(head, piece...), rules, false)
		runtime.ReadMemStats(&after)
		if !errors.Is(v, test.want) && (v != nil || test.want != nil) {
			t.Errorf("length %d: %v, want %v", test.length, v, test.want)
		}
		if grown := after.TotalAlloc - before.TotalAlloc; grown > 64<<10 {
			t.Errorf("length %d: %d bytes allocated for 1000", test.length, grown)
		}
	}
}

func TestMemoryOfAMessageIsBounded(t *testing.T) {
	rules := testRules()
	var f framer
	head := binary.BigEndian.AppendUint64([]byte{0x82, 0xff}, uint64(rules.message))
	if _, _, v := f.next(append(head, 1, 2, 3, 4), rules, false); v != nil {
		t.Fatal(v)
	}
	arrived := 0
	for f.inFrame {
		_, n, v := f.next(make([]byte, 1400), rules, false)
		if v != nil {
			t.Fatal(v)
		}
		arrived += n
		if bound := 2*arrived + 64<<10; cap(f.buf) > bound || cap(f.buf) > rules.message+64<<10 {
			t.Fatalf("%d bytes held when %d had arrived", cap(f.buf), arrived)
		}
	}
	if arrived != rules.message {
		t.Errorf("%d bytes taken", arrived)
	}
}

// A message in many small fragments must not be copied again for each of them.
func TestFragmentsAreNotCopiedAgainAndAgain(t *testing.T) {
	rules := testRules()
	rules.fragments = 1 << 20
	var f framer
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	fragment := frame(ws.OpContinuation, false, make([]byte, 64))
	data := frame(ws.OpBinary, false, make([]byte, 64))
	for range rules.message / 64 {
		if _, _, v := f.next(data, rules, false); v != nil {
			t.Fatal(v)
		}
		data = append(data[:0], fragment...)
	}
	runtime.ReadMemStats(&after)
	if total := after.TotalAlloc - before.TotalAlloc; total > 8*uint64(rules.message) {
		t.Errorf("%d bytes allocated for a message of %d", total, rules.message)
	}
}

func TestFragmentsAreBounded(t *testing.T) {
	rules := testRules()
	tests := map[string]struct {
		first, rest []byte
		want        *violation
	}{
		"one byte each":    {frame(ws.OpText, false, []byte("a")), frame(ws.OpContinuation, false, []byte("a")), errTooFragmented},
		"empty":            {frame(ws.OpText, false, nil), frame(ws.OpContinuation, false, nil), errTooFragmented},
		"with pings":       {frame(ws.OpText, false, nil), join(frame(ws.OpPing, true, nil), frame(ws.OpContinuation, false, nil)), errTooFragmented},
		"large":            {frame(ws.OpBinary, false, nil), frame(ws.OpContinuation, false, make([]byte, 4096)), errMessageTooBig},
		"large compressed": {rawFrame(0x42, 0x80, 1, 2, 3, 4), frame(ws.OpContinuation, false, make([]byte, 4096)), errMessageTooBig},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			var f framer
			data := bytes.Clone(test.first)
			for i := range 10_000 {
				for len(data) > 0 {
					_, n, v := f.next(data, rules, true)
					data = data[n:]
					if v != nil {
						if v != test.want {
							t.Fatalf("%v, want %v", v, test.want)
						}
						if i > rules.fragments || f.size > rules.message {
							t.Fatalf("only after %d fragments of %d bytes", i, f.size)
						}
						return
					}
				}
				data = bytes.Clone(test.rest)
			}
			t.Fatal("never fails")
		})
	}
}

// A peer's noise: random frames, mostly well-formed, cut at random. The framer neither panics nor
// keeps more than the limits allow, and the cuts do not change what it sees.
func TestRandomFramesCutAnywhere(t *testing.T) {
	r := rand.New(rand.NewPCG(38, 38))
	for range 3000 {
		var stream []byte
		for range 1 + r.IntN(12) {
			stream = append(stream, randomFrame(r)...)
		}
		rules := &frameRules{message: 4096, fragments: 8, pool: new(buffers)}
		deflate := r.IntN(2) == 0
		whole := read(rules, deflate, stream)
		var places []int
		for p := r.IntN(20); p < len(stream); p += 1 + r.IntN(400) {
			places = append(places, p)
		}
		if got := read(rules, deflate, cuts(stream, places...)...); !slices.Equal(got, whole) {
			t.Fatalf("stream %x cut at %v:\n%q, in one piece:\n%q", stream, places, got, whole)
		}
	}
}

func randomFrame(r *rand.Rand) []byte {
	payload := make([]byte, []int{0, 1, 5, 125, 126, 300, 5000}[r.IntN(7)])
	if r.IntN(3) == 0 {
		for i := range payload {
			payload[i] = byte(r.Uint32())
		}
	}
	op := []ws.OpCode{ws.OpText, ws.OpBinary, ws.OpContinuation, ws.OpContinuation, ws.OpPing, ws.OpPong, ws.OpClose}[r.IntN(7)]
	if op.IsControl() && r.IntN(10) > 0 {
		payload = payload[:min(len(payload), 125)]
	}
	f := frame(op, op.IsControl() || r.IntN(2) == 0, payload)
	switch r.IntN(30) {
	case 0:
		f[r.IntN(len(f))] = byte(r.Uint32())
	case 1:
		f = f[:r.IntN(len(f))+1]
	}
	return f
}

func FuzzFrames(f *testing.F) {
	for _, test := range rfc6455 {
		if len(test.stream) < 500 {
			f.Add(test.stream, uint64(len(test.stream)), test.deflate)
		}
	}
	f.Fuzz(func(t *testing.T, stream []byte, seed uint64, deflate bool) {
		if len(stream) > 1<<16 {
			return
		}
		rules := &frameRules{message: 8192, fragments: 16, pool: new(buffers)}
		whole := read(rules, deflate, stream)
		r := rand.New(rand.NewPCG(seed, 1))
		var places []int
		for p := r.IntN(16); p < len(stream); p += 1 + r.IntN(1+r.IntN(64)) {
			places = append(places, p)
		}
		if got := read(rules, deflate, cuts(stream, places...)...); !slices.Equal(got, whole) {
			t.Fatalf("cut at %v: %q, in one piece: %q", places, got, whole)
		}
		for _, line := range whole {
			if hex, ok := strings.CutPrefix(line, "message binary=false deflate=false "); ok {
				var p []byte
				if _, err := fmt.Sscanf(hex, "%x", &p); err == nil && !utf8.Valid(p) {
					t.Fatalf("text %x reached the handler", p)
				}
			}
		}
	})
}

func FuzzText(f *testing.F) {
	f.Add([]byte("κόσμε\xf0\x9f\x98\x80"), uint64(1))
	f.Add([]byte("\xed\xa0\x80"), uint64(2))
	f.Add([]byte("\xf4\x90\x80\x80"), uint64(3))
	f.Fuzz(func(t *testing.T, p []byte, seed uint64) {
		r := rand.New(rand.NewPCG(seed, 7))
		var check textCheck
		valid := true
		for rest := p; len(rest) > 0 && valid; {
			n := 1 + r.IntN(min(len(rest), 1+r.IntN(9)))
			valid = check.write(rest[:n])
			rest = rest[n:]
			// Fails fast: what was accepted so far can be completed.
			if valid {
				done := p[:len(p)-len(rest)]
				if !slices.ContainsFunc([]string{"", "\x80", "\xa0", "\x80\x80", "\xa0\x80", "\x90\x80", "\x90\x80\x80", "\x80\x80\x80"}, func(tail string) bool {
					return utf8.ValidString(string(done) + tail)
				}) {
					t.Fatalf("%x was taken for the beginning of text", done)
				}
			}
		}
		if valid = valid && check.whole(); valid != utf8.Valid(p) {
			t.Fatalf("%x: %v", p, valid)
		}
	})
}

func TestWholeMessagesAreNotCopied(t *testing.T) {
	rules := testRules()
	var f framer
	stream := join(text("hello"), frame(ws.OpPing, true, []byte("p")), frame(ws.OpBinary, true, make([]byte, 300)))
	data := bytes.Clone(stream)
	if n := testing.AllocsPerRun(100, func() {
		copy(data, stream)
		for rest := data; len(rest) > 0; {
			ev, n, v := f.next(rest, rules, false)
			if v != nil || ev.kind == eventNone {
				t.Fatal(ev, v)
			}
			if len(ev.payload) > 0 && &ev.payload[len(ev.payload)-1] != &rest[n-1] {
				t.Fatal("the payload was moved")
			}
			rest = rest[n:]
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
	if !f.idle() || f.buf != nil {
		t.Error("something is kept between messages")
	}
}

func TestPartialMessagesReusePooledMemory(t *testing.T) {
	rules := testRules()
	var f framer
	stream := frame(ws.OpText, true, []byte(strings.Repeat("x", 3000)))
	data := bytes.Clone(stream)
	if n := testing.AllocsPerRun(100, func() {
		copy(data, stream)
		for _, piece := range [][]byte{data[:2], data[2:700], data[700:]} {
			if _, _, v := f.next(piece, rules, false); v != nil {
				t.Fatal(v)
			}
		}
		f.reclaim(rules.pool)
	}); n > 1 { // the pool's own list may grow
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkFrames(b *testing.B) {
	for _, n := range []int{20, 200, 2000, 60000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			rules := testRules()
			var f framer
			stream := text(strings.Repeat("x", n))
			data := make([]byte, len(stream))
			b.SetBytes(int64(len(stream)))
			b.ReportAllocs()
			for b.Loop() {
				copy(data, stream)
				if ev, _, v := f.next(data, rules, false); v != nil || ev.kind != eventMessage {
					b.Fatal(ev, v)
				}
			}
		})
	}
}
