package cluster

import (
	"bytes"
	"encoding/binary"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var frames = []interface{ append(dst []byte) []byte }{
	&heartbeat{origin: "server:a", epoch: 1 << 63, upTo: 300, lost: 7, sent: 1_790_000_000_123},
	&want{asker: 5, nonce: 6, follow: 3 * time.Second, epoch: 1 << 62, after: 9, age: time.Hour},
	&page{epoch: 1, nonce: 2, from: 3, to: 5, lost: 2, last: true, envelopes: [][]byte{[]byte("one"), {}}},
	&page{epoch: 1, from: 5, to: 5},
}

var unexported = cmp.AllowUnexported(heartbeat{}, want{}, page{})

func TestFrames(t *testing.T) {
	for _, f := range frames {
		data := f.append([]byte("before"))[len("before"):]
		got, err := decodeFrame(data)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(any(f), got, unexported); diff != "" {
			t.Errorf("(-want +got)\n%s", diff)
		}

		// A newer release says more in its fields.
		n, size := binary.Uvarint(data[2:])
		newer := []byte{frameVersion + 1, data[1]}
		newer = binary.AppendUvarint(newer, n+2)
		newer = append(newer, data[2+size:][:n]...)
		newer = append(newer, 1, 2)
		newer = append(newer, data[2+size+int(n):]...)
		if got, err := decodeFrame(newer); err != nil || !cmp.Equal(any(f), got, unexported) {
			t.Errorf("of a newer release: %+v, %v", got, err)
		}

		for n := range data {
			if got, err := decodeFrame(data[:n]); err == nil && cmp.Equal(any(f), got, unexported) {
				t.Errorf("%d of %d bytes of %+v were enough", n, len(data), f)
			}
		}
	}
	if f, err := decodeFrame([]byte{7, 99, 1, 0, 5}); f != nil || err != nil {
		t.Errorf("a type of a newer release: %v, %v", f, err)
	}
}

func FuzzDecodeFrame(f *testing.F) {
	for _, frame := range frames {
		f.Add(frame.append(nil))
	}
	f.Add([]byte{1, 3, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1})
	f.Fuzz(func(t *testing.T, data []byte) {
		before := bytes.Clone(data)
		got, err := decodeFrame(data)
		if !bytes.Equal(data, before) {
			t.Fatal("the data was changed")
		}
		if err != nil || got == nil {
			if got != nil {
				t.Fatalf("%v with %v", got, err)
			}
			return
		}
		if p, ok := got.(*page); ok && len(slices.Concat(p.envelopes...)) > len(data) {
			t.Fatal("more came out than went in")
		}
		again, err := decodeFrame(got.(interface{ append(dst []byte) []byte }).append(nil))
		if err != nil || !cmp.Equal(got, again, unexported) {
			t.Fatalf("%+v became %+v, %v", got, again, err)
		}
	})
}
