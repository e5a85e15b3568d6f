package wire

import (
	"fmt"
	"strings"
	"testing"
)

const benchSync = `["sync",3,{"type":"posts/add","id":"Hq3GZ","title":"Hello, world","tags":["a","b"]},{"id":[16543,"38:Y7bysd:O0ETfc",0],"time":16543}]`

func BenchmarkDecode(b *testing.B) {
	var hundred strings.Builder
	hundred.WriteString(`["sync",100`)
	for i := range 100 {
		fmt.Fprintf(&hundred, `,{"type":"posts/add","id":"Hq3GZ","title":"Hello, world"},{"id":[%d,%d],"time":%d}`, i, i, i)
	}
	hundred.WriteString(`]`)
	for _, bench := range []struct{ name, text string }{
		{"synced", `["synced",1234]`},
		{"synced-long-way", `["synced",1234] `},
		{"ping", `["ping",1234]`},
		{"connect", `["connect",5,"38:Y7bysd:O0ETfc",0,{"subprotocol":10,"token":"eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIzOCJ9.Zm9v"}]`},
		{"sync-1", benchSync},
		{"sync-100", hundred.String()},
		{"sync-10KB", `["sync",1,{"type":"text","text":"` + strings.Repeat("lorem ipsum ", 850) + `"},{"id":1,"time":1}]`},
		{"refused", `["sync",1,{"type":"a"},{"id":"1","time":1}]`},
	} {
		b.Run(bench.name, func(b *testing.B) {
			var d Decoder
			var m Message
			text := []byte(bench.text)
			b.SetBytes(int64(len(text)))
			b.ReportAllocs()
			for b.Loop() {
				_ = d.Decode(text, &m)
			}
		})
	}
}

func benchAction() *Action {
	return &Action{
		ID: "1560954012838 38:Y7bysd:O0ETfc 0", Time: 1560954012838, Subprotocol: RawJSON(`10`), Type: "posts/add",
		Body: RawJSON(`{"type":"posts/add","id":"Hq3GZ","title":"Hello, world","tags":["a","b"]}`),
	}
}

// BenchmarkAppendSync is what one receiver of a fan-out costs.
func BenchmarkAppendSync(b *testing.B) {
	o, err := NewOutgoing(benchAction(), "server:x")
	if err != nil {
		b.Fatal(err)
	}
	buf := make([]byte, 0, 4096)
	b.ReportAllocs()
	base := int64(1560954000000)
	for b.Loop() {
		buf = AppendSyncEnd(AppendSyncPair(AppendSyncStart(buf[:0], base), base, o))
		base++
	}
}

func BenchmarkAppendSyncPair(b *testing.B) {
	o, err := NewOutgoing(benchAction(), "server:x")
	if err != nil {
		b.Fatal(err)
	}
	buf := make([]byte, 0, 4096)
	b.ReportAllocs()
	for b.Loop() {
		buf = AppendSyncPair(buf[:0], 1560954000000, o)
	}
}

func BenchmarkNewOutgoing(b *testing.B) {
	a := benchAction()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := NewOutgoing(a, "server:x"); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkAppendCommand(b *testing.B) {
	c := &Command{Action: benchAction(), Headers: RawJSON(`{"locale":"en"}`)}
	buf := make([]byte, 0, 4096)
	b.ReportAllocs()
	for b.Loop() {
		buf = AppendCommandsEnd(AppendCommand(AppendCommandsStart(buf[:0], 4, "secret"), 4, c))
	}
}

func BenchmarkAnswers(b *testing.B) {
	const id = "1560954012838 38:Y7bysd:O0ETfc 0"
	const text = `[{"answer":"resend","id":"` + id + `","channels":["posts/1"]},{"answer":"approved","id":"` + id + `"},{"answer":"processed","id":"` + id + `"}]`
	b.SetBytes(int64(len(text)))
	b.ReportAllocs()
	for b.Loop() {
		r := NewAnswerReader(strings.NewReader(text), 4, AnswerLimits{})
		for {
			if _, err := r.Next(); err != nil {
				break
			}
		}
	}
}

func BenchmarkParseSubscription(b *testing.B) {
	body := RawJSON(`{"type":"logux/subscribe","channel":"posts","filter":{"category":"news"},"since":{"id":"1560954012838 38:Y7bysd:O0ETfc 0","time":1560954012838}}`)
	b.ReportAllocs()
	for b.Loop() {
		if _, ok, _ := ParseSubscription(body); !ok {
			b.Fatal("refused")
		}
	}
}

func BenchmarkDecodeControl(b *testing.B) {
	body := []byte(`{"version":4,"secret":"secret","commands":[{"command":"action","action":{"type":"posts/add","id":"Hq3GZ"},"meta":{"channels":["posts"]}}]}`)
	b.ReportAllocs()
	for b.Loop() {
		if _, fault := DecodeControl(body, 0); fault != ControlOK {
			b.Fatal(fault)
		}
	}
}
