package frame

import (
	"bytes"
	"errors"
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
			if _, n, err := Next(frame[:cut]); n != 0 || err != nil {
				t.Fatalf("%d of %d bytes are a frame of %d, %v", cut, len(frame), n, err)
			}
		}
		stream = append(stream, frame...)
	}
	for _, size := range sizes {
		f, n, err := Next(stream)
		if f.Op != ws.OpText || !f.Fin || len(f.Payload) != size || err != nil {
			t.Fatalf("frame %v of %d, %v, want %d", f.Op, len(f.Payload), err, size)
		}
		stream = stream[n:]
	}
	if len(stream) != 0 {
		t.Errorf("%d bytes are left", len(stream))
	}
}

func TestFramesAreWritten(t *testing.T) {
	for _, size := range []int{0, 1, 125, 126, 65535, 65536} {
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

// What no server may send is an error and not a frame that never ends.
func TestForbiddenFrames(t *testing.T) {
	for want, data := range map[error][]byte{
		ErrReserved: {0xc1, 0},
		ErrMasked:   {0x81, 0x80, 1, 2, 3, 4},
		ErrTooLong:  {0x81, 127, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff},
	} {
		if f, n, err := Next(data); !errors.Is(err, want) || n != 0 || f.Payload != nil {
			t.Errorf("%v: %v of %d bytes, %v", want, f, n, err)
		}
	}
	if f, n, err := Next([]byte{0x01, 1, 'a', 0x80}); f.Fin || f.Op != ws.OpText || n != 3 || err != nil {
		t.Errorf("the first part of a message is %+v of %d bytes, %v", f, n, err)
	}
}
