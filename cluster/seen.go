package cluster

// A window remembers which sequence numbers of one origin were seen, to drop second copies: an envelope
// comes once for each of its topics, and again when it is replayed or sent directly.
//
// It reaches windowSize numbers below the highest one. What is older counts as seen: no server has it any
// more, since a ring keeps fewer envelopes. Numbers may come in any order, with holes. The zero window is empty. It
// takes a bit a number, in chunks that hold at least one; a goroutine at a time may use it.
type window struct {
	chunks map[uint64]*chunk
	high   uint64
}

const (
	chunkBits  = 12
	windowSize = 1 << 20 // numbers; 128 KiB when every one of them was seen
)

type chunk [1 << chunkBits / 64]uint64

// add notes seq and reports whether it is new.
func (w *window) add(seq uint64) bool {
	if seq+windowSize <= w.high {
		return false
	}
	key := seq >> chunkBits
	c := w.chunks[key]
	if c == nil {
		c = new(chunk)
		if w.chunks == nil {
			w.chunks = make(map[uint64]*chunk)
		}
		w.chunks[key] = c
	}
	if seq > w.high {
		if key != w.high>>chunkBits {
			w.forget(seq)
		}
		w.high = seq
	}
	word, bit := &c[seq>>6%uint64(len(c))], uint64(1)<<(seq&63)
	if *word&bit != 0 {
		return false
	}
	*word |= bit
	return true
}

// forget drops the chunks that are out of reach once high is the highest number.
func (w *window) forget(high uint64) {
	for key := range w.chunks {
		if last := key<<chunkBits | (1<<chunkBits - 1); high >= windowSize && last <= high-windowSize {
			delete(w.chunks, key)
		}
	}
}
