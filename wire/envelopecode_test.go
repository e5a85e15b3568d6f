package wire

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func fullEnvelope() *Envelope {
	return &Envelope{
		Origin: "server:a1", Epoch: 1 << 63, Seq: 300, Published: 1_790_000_000_123,
		Action: &Action{
			ID: "1790000000000 38:Y7bysd:O0ETfc 1", Time: -5, Subprotocol: RawJSON(`"1.0.0"`),
			Type: "posts/add", Body: RawJSON(`{"type":"posts/add","text":"\u0000"}`),
		},
		Targets: Targets{
			Channels: []string{"posts", ""}, Users: []UserID{"38"}, Clients: []ClientID{"38:a", "uuid"},
			Nodes: []NodeID{"39:a:b"}, ExcludeClients: []ClientID{"38:z"},
		},
		Author: "38:Y7bysd",
	}
}

func TestEnvelopeRoundTrip(t *testing.T) {
	for _, want := range []*Envelope{
		fullEnvelope(),
		{Origin: "server:a", Seq: 1, Action: &Action{ID: "1 a 0", Body: RawJSON(`{}`)}},
		{Kind: 7, Origin: "server:a", Seq: 1, Targets: Targets{Users: []UserID{"38"}}},
		{Kind: KindDisconnect, Origin: "server:a", Seq: 1, Targets: Targets{Users: []UserID{"38"}, Clients: []ClientID{"39:a"}}},
		{Kind: KindAttach, Origin: "server:a", Seq: 1, Targets: Targets{Clients: []ClientID{"38:a"}}, Note: &Note{Server: "server:a/1-A", Turn: 7}},
		{Kind: KindRecord, Origin: "server:a", Seq: 1, Targets: Targets{Clients: []ClientID{"38:a"}}, Note: &Note{
			Server: "server:a/1-A", To: "server:b/2-B", Turn: 7,
			InFlight: []InFlight{{ID: "1 38:a:b 0", Owner: "server:a/1-A"}, {ID: "2 38:a:b 0", Owner: "server:c/1-A"}},
			Outcomes: []Outcome{{ID: "3 38:a:b 0", Added: 300, Action: AppendAction(nil, fullEnvelope().Action)}},
		}},
		{Kind: KindKept, Origin: "server:a", Seq: 1, Targets: Targets{Clients: []ClientID{"38:a"}}, Note: &Note{
			Server: "server:a/1-A", To: "server:b/2-B", Kept: []ActionID{"1 38:a:b 0", "2 38:a:b 0"},
		}},
	} {
		data := AppendEnvelope([]byte("before"), want)[len("before"):]
		got, err := DecodeEnvelope(data)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("(-want +got)\n%s", diff)
		}
		if !bytes.HasPrefix(data, AppendEnvelopeStart(nil, want.Origin)) {
			t.Error("it does not begin as AppendEnvelopeStart says")
		}
	}
}

func TestActionRoundTrip(t *testing.T) {
	want := fullEnvelope().Action
	data := AppendAction(nil, want)
	got, err := DecodeAction(data)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	for cut := range data {
		if a, err := DecodeAction(data[:cut]); err == nil && (a.ID == "" || len(a.Body) == 0) {
			t.Errorf("cut at %d: %+v", cut, a)
		}
	}
}

// A note that lacks what everybody who reads it relies on is refused.
func TestNotesThatLackSomething(t *testing.T) {
	client := Targets{Clients: []ClientID{"38:a"}}
	for name, e := range map[string]*Envelope{
		"no note":         {Kind: KindAttach, Targets: client},
		"no server":       {Kind: KindAttach, Targets: client, Note: &Note{}},
		"strange server":  {Kind: KindAttach, Targets: client, Note: &Note{Server: "38:a/1-A"}},
		"no client":       {Kind: KindOutcome, Note: &Note{Server: "server:a/1-A"}},
		"kept by nobody":  {Kind: KindKept, Targets: client, Note: &Note{To: "server:a/1-A", Kept: []ActionID{"1 38:a:b 0"}}},
		"two clients":     {Kind: KindRecord, Targets: Targets{Clients: []ClientID{"38:a", "38:b"}}, Note: &Note{Server: "server:a/1-A"}},
		"an empty action": {Kind: KindOutcome, Targets: client, Note: &Note{Server: "server:a/1-A", Outcomes: []Outcome{{ID: ""}}}},
	} {
		e.Origin, e.Seq = "server:a", 1
		if got, err := DecodeEnvelope(AppendEnvelope(nil, e)); err == nil {
			t.Errorf("%s: %+v", name, got)
		}
	}
}

// The bytes of version 1 stay as they are: servers of two releases run side by side.
func TestEnvelopeVersion1(t *testing.T) {
	const golden = "01" + // version
		"0109" + "7365727665723a6131" + // origin
		"020a" + "80808080808080808001" + // epoch
		"0302" + "ac02" + // seq
		"0406" + "f6b183c59868" + // published
		"0620" + "313739303030303030303030302033383a5937627973643a4f30455466632031" + // action ID
		"0701" + "09" + // time
		"0807" + "22312e302e3022" + // subprotocol
		"0909" + "706f7374732f616464" + // type
		"0a24" + "7b2274797065223a22706f7374732f616464222c2274657874223a225c7530303030227d" + // body
		"0b05" + "706f737473" + "0b00" + // channels
		"0c02" + "3338" + // user
		"0d04" + "33383a61" + "0d04" + "75756964" + // clients
		"0e06" + "33393a613a62" + // node
		"0f04" + "33383a7a" + // excluded
		"1009" + "33383a593762797364" // author
	if got := hex.EncodeToString(AppendEnvelope(nil, fullEnvelope())); got != golden {
		t.Errorf("got\n%s, want\n%s", got, golden)
	}
}

// Of a newer version what can be read is read.
func TestEnvelopeOfANewerRelease(t *testing.T) {
	data := AppendEnvelope(nil, fullEnvelope())
	data = appendField(data, 200, "something new")
	data = appendField(data, 0, "")
	data[0] = EnvelopeVersion + 1
	got, err := DecodeEnvelope(data)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(fullEnvelope(), got); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}

	_, err = DecodeEnvelope([]byte{9, 'n', 'e', 'w'})
	if !errors.Is(err, ErrEnvelope) || !strings.Contains(err.Error(), "version 9") {
		t.Errorf("a version that cannot be read: %v", err)
	}
}

func TestEnvelopeRefused(t *testing.T) {
	whole := AppendEnvelope(nil, fullEnvelope())
	with := func(change func(e *Envelope)) []byte {
		e := fullEnvelope()
		change(e)
		return AppendEnvelope(nil, e)
	}
	for name, data := range map[string][]byte{
		"nothing":             nil,
		"version 0":           append([]byte{0}, whole[1:]...),
		"only the version":    {1},
		"JSON":                []byte(`{"type":"a"}`),
		"a length of 2^64-1":  append(slices.Clone(whole), 11, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1),
		"a length too long":   append(slices.Clone(whole), 11, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff),
		"a field cut":         whole[:len(whole)-1],
		"a number with more":  appendField(slices.Clone(whole), fieldSeq, "\x01\x01"),
		"an empty number":     appendField(slices.Clone(whole), fieldSeq, ""),
		"a kind of two bytes": appendField(slices.Clone(whole), fieldKind, "\x80\x02"),
		"no origin":           with(func(e *Envelope) { e.Origin = "" }),
		"a space in it":       with(func(e *Envelope) { e.Origin = "server: a" }),
		"no seq":              with(func(e *Envelope) { e.Seq = 0 }),
		"no action":           with(func(e *Envelope) { e.Action = nil }),
		"no ID":               with(func(e *Envelope) { e.Action.ID = "" }),
		"no body":             with(func(e *Envelope) { e.Action.Body = nil }),
		"too many targets":    with(func(e *Envelope) { e.Targets.Channels = make([]string, maxTargets) }),
		"too long":            with(func(e *Envelope) { e.Action.Body = make(RawJSON, MaxEnvelope) }),
	} {
		if e, err := DecodeEnvelope(data); !errors.Is(err, ErrEnvelope) || e != nil {
			t.Errorf("%s: %v, %v", name, e, err)
		}
	}
	for n := range whole {
		if e, err := DecodeEnvelope(whole[:n]); err == nil && len(e.Topics()) == len(fullEnvelope().Topics()) && e.Author != "" {
			t.Errorf("%d of %d bytes were enough", n, len(whole))
		}
	}
}

// A length is only a promise.
func TestEnvelopeTakesNoMemoryForPromises(t *testing.T) {
	data := append(AppendEnvelope(nil, fullEnvelope()), fieldChannel)
	data = binary.AppendUvarint(data, 1<<40)
	data = append(data, "abc"...)
	if n := testing.Benchmark(func(b *testing.B) {
		b.Helper()
		b.ReportAllocs()
		for b.Loop() {
			_, _ = DecodeEnvelope(data)
		}
	}).AllocedBytesPerOp(); n > 4<<10 {
		t.Errorf("%d bytes were taken", n)
	}
}

func TestEnvelopeEncodingAllocatesNothing(t *testing.T) {
	e, buf := fullEnvelope(), make([]byte, 0, 1<<10)
	if n := testing.AllocsPerRun(100, func() { _ = AppendEnvelope(buf, e) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func FuzzDecodeEnvelope(f *testing.F) {
	f.Add(AppendEnvelope(nil, fullEnvelope()))
	f.Add(AppendEnvelope(nil, &Envelope{Kind: 3, Origin: "server:a", Seq: 1}))
	f.Add(appendField(AppendEnvelope(nil, fullEnvelope()), 99, "x"))
	f.Add(appendField(AppendEnvelope(nil, fullEnvelope()), fieldTrace, "a trace's ID, its span's"))
	f.Add([]byte{1, 1, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1})
	f.Add([]byte{2})
	f.Fuzz(func(t *testing.T, data []byte) {
		before := bytes.Clone(data)
		e, err := DecodeEnvelope(data)
		if !bytes.Equal(data, before) {
			t.Fatal("the data was changed")
		}
		if err != nil {
			if !errors.Is(err, ErrEnvelope) || e != nil {
				t.Fatalf("%v, %v", e, err)
			}
			return
		}
		// What was read is what would be written.
		again, err := DecodeEnvelope(AppendEnvelope(nil, e))
		if err != nil {
			t.Fatalf("%+v: %v", e, err)
		}
		empty := cmp.FilterValues(func(a, b RawJSON) bool { return len(a)+len(b) == 0 }, cmp.Comparer(func(_, _ RawJSON) bool { return true }))
		if diff := cmp.Diff(e, again, empty); diff != "" {
			t.Fatalf("(-read +written and read)\n%s", diff)
		}
		e.Topics()
	})
}

func BenchmarkEnvelope(b *testing.B) {
	for _, channels := range []int{1, 10} {
		e := fullEnvelope()
		e.Targets = Targets{}
		for i := range channels {
			e.Targets.Channels = append(e.Targets.Channels, fmt.Sprint("posts/", i))
		}
		data := AppendEnvelope(nil, e)
		b.Run(fmt.Sprint("append ", channels), func(b *testing.B) {
			b.ReportAllocs()
			buf := make([]byte, 0, 2*len(data))
			for b.Loop() {
				_ = AppendEnvelope(buf, e)
			}
		})
		b.Run(fmt.Sprint("decode ", channels), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := DecodeEnvelope(data); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
