package bench

// A received is which actions of one channel a subscriber got, counted from its subscription on. Actions under way at the
// same time overtake each other, so it remembers which of the next ones are here.
type received struct {
	active bool  // subscribed, without a break since begin
	begin  int64 // the first action in the channel that it has to get
	next   int64 // the first one that is missing
	ahead  []uint64
}

// maxAhead is how far ahead of a missing action others may be, before that one is given up.
const maxAhead = 1 << 16

// start begins with what is sent to the channel from now on.
func (r *received) start(next int64) { *r = received{active: true, begin: next, next: next} }

// stop ends it: what was under way may or may not have been sent.
func (r *received) stop() { *r = received{} }

// take marks an action as here, and reports whether it was before. missing is called for each one that is given up.
func (r *received) take(seq int64, missing func(seq int64)) (again bool) {
	switch {
	case !r.active || seq < r.begin:
		return false
	case seq < r.next:
		return true
	}
	for seq-r.next >= maxAhead {
		if !r.isAhead(r.next) {
			missing(r.next)
		}
		r.advance()
	}
	if r.isAhead(seq) {
		return true
	}
	word := int(seq/64 - r.next/64)
	for len(r.ahead) <= word {
		r.ahead = append(r.ahead, 0)
	}
	r.ahead[word] |= 1 << (seq % 64)
	for r.isAhead(r.next) {
		r.advance()
	}
	return false
}

// isAhead reports whether seq, which is not below next, is here. The words of ahead begin with that of next.
func (r *received) isAhead(seq int64) bool {
	word := int(seq/64 - r.next/64)
	return word < len(r.ahead) && r.ahead[word]>>(seq%64)&1 != 0
}

func (r *received) advance() {
	r.next++
	if r.next%64 == 0 && len(r.ahead) > 0 {
		if r.ahead = r.ahead[1:]; len(r.ahead) == 0 {
			r.ahead = nil
		}
	}
}

// finish calls missing for each action before end that is not here.
func (r *received) finish(end int64, missing func(seq int64)) {
	for r.active && r.next < end {
		if !r.isAhead(r.next) {
			missing(r.next)
		}
		r.advance()
	}
}
