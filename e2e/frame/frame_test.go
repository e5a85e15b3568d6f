package frame

import (
	"bytes"
	"io"
	"testing"

	"github.com/gobwas/ws"
)

func TestFramesAreRead(t *testing.T) {
	var stream []byte
	sizes := []int{0, 1, 125, 126, 65535, 65536}
	for _, size := range sizes {
		frame, err := ws.CompileFrame(ws.NewTextFrame(bytes.Repeat([]byte{'a'}, size)))
		if err != nil {
			t.Fatal(err)
		}
		for cut := range min(len(frame), 200) {
			if _, _, n := Next(frame[:cut]); n != 0 {
				t.Fatalf("%d of %d bytes are a frame of %d", cut, len(frame), n)
			}
		}
		stream = append(stream, frame...)
	}
	for _, size := range sizes {
		op, payload, n := Next(stream)
		if op != ws.OpText || len(payload) != size {
			t.Fatalf("frame %v of %d, want %d", op, len(payload), size)
		}
		stream = stream[n:]
	}
	if len(stream) != 0 {
		t.Errorf("%d bytes are left", len(stream))
	}
}

func TestFramesAreWritten(t *testing.T) {
	for _, size := range []int{0, 1, 125, 126, 65535} {
		payload := bytes.Repeat([]byte("xyz"), size/3+1)[:size]
		r := bytes.NewReader(Append(nil, ws.OpText, payload))
		header, err := ws.ReadHeader(r)
		if err != nil {
			t.Fatal(err)
		}
		if err := ws.CheckHeader(header, ws.StateServerSide); err != nil {
			t.Error(err)
		}
		got := make([]byte, header.Length)
		if _, err := io.ReadFull(r, got); err != nil || r.Len() != 0 {
			t.Fatalf("%d bytes: %v, %d left", size, err, r.Len())
		}
		if ws.Cipher(got, header.Mask, 0); !bytes.Equal(got, payload) {
			t.Errorf("%d bytes are read as %q", size, got)
		}
	}
}
