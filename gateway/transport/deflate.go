package transport

import (
	"bytes"
	"compress/flate"
	"errors"
	"io"
	"unicode/utf8"

	"github.com/gobwas/httphead"
	"github.com/gobwas/ws/wsflate"
)

// negotiateDeflate answers one offer of permessage-deflate (RFC 7692, section 7.1) and returns the size of the window
// that we may use, as its logarithm; 0 declines. No state is kept between messages in either
// direction, so that an idle connection costs nothing.
func negotiateDeflate(offer httphead.Option) (httphead.Option, uint8) {
	if !bytes.Equal(offer.Name, wsflate.ExtensionNameBytes) {
		return httphead.Option{}, 0
	}
	var p wsflate.Parameters
	if err := p.Parse(offer); err != nil {
		return httphead.Option{}, 0
	}
	answer := wsflate.Parameters{
		ServerNoContextTakeover: true,
		ClientNoContextTakeover: true,
		ServerMaxWindowBits:     p.ServerMaxWindowBits,
	}
	bits := uint8(15)
	if p.ServerMaxWindowBits.Defined() {
		bits = uint8(p.ServerMaxWindowBits)
	}
	return answer.Option(), bits
}

// A deflater compresses and expands whole messages. Each loop has one at most, made when it is first needed: the state
// of a compressor is more than a megabyte.
type deflater struct {
	writer *wsflate.Writer
	reader *wsflate.Reader
	src    bytes.Reader
	packed bytes.Buffer
	plain  []byte
}

func newDeflater() *deflater {
	return &deflater{
		writer: wsflate.NewWriter(io.Discard, func(w io.Writer) wsflate.Compressor {
			f, err := flate.NewWriter(w, flate.BestSpeed)
			if err != nil {
				panic(err) // only a level out of range
			}
			return f
		}),
		reader: wsflate.NewReader(bytes.NewReader(nil), func(r io.Reader) wsflate.Decompressor {
			return inflater{flate.NewReader(r)}
		}),
	}
}

// An inflater is flate's reader with the Reset that wsflate looks for, without which it makes a
// new one for each message.
type inflater struct{ io.ReadCloser }

// Reset implements wsflate.ReadResetter.
func (i inflater) Reset(r io.Reader) {
	// It returns an error for other implementations' sake; flate's has none.
	_ = i.ReadCloser.(flate.Resetter).Reset(r, nil)
}

// compress returns p compressed, valid until the next call, and whether that is of use.
func (d *deflater) compress(p []byte, windowBits uint8) ([]byte, bool) {
	d.packed.Reset()
	window := 1 << windowBits
	// flate always uses its full window. A message that is longer than the peer's is compressed in parts
	// that do not refer to each other; each ends on a byte border, so that they make one stream.
	for rest := p; len(rest) > 0; {
		part := rest[:min(len(rest), window)]
		if windowBits == 15 {
			part = rest
		}
		rest = rest[len(part):]
		d.writer.Reset(&d.packed)
		if _, err := d.writer.Write(part); err != nil {
			return p, false
		}
		if err := d.writer.Flush(); err != nil {
			return p, false
		}
		if len(rest) > 0 {
			d.packed.WriteString("\x00\x00\xff\xff") // which Flush takes off: it ends messages
		}
		if d.packed.Len() >= len(p) {
			return p, false
		}
	}
	return d.packed.Bytes(), len(p) > 0
}

// inflateSlack is by how much the memory for an expanding message may exceed the message limit.
const inflateSlack = 64 << 10

// expand returns the message that p was compressed from, valid until the next call.
func (d *deflater) expand(p []byte, limit int, text bool) ([]byte, *violation) {
	d.src.Reset(p)
	d.reader.Reset(&d.src)
	d.plain = shrink(d.plain)
	for {
		if len(d.plain) == cap(d.plain) {
			room := min(max(2*cap(d.plain), 4<<10), limit+inflateSlack)
			d.plain = append(make([]byte, 0, room), d.plain...)
		}
		n, err := d.reader.Read(d.plain[len(d.plain):cap(d.plain)])
		d.plain = d.plain[:len(d.plain)+n]
		if len(d.plain) > limit {
			return nil, errMessageTooBig
		}
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, errDeflate
		}
	}
	if text && !utf8.Valid(d.plain) {
		return nil, errText
	}
	return d.plain, nil
}
