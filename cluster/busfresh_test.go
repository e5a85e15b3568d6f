package cluster

import "testing"

// What was published before a join is told from what got lost after it by the first envelope that came since.
func TestViewKnowsWhatWasBeforeAJoin(t *testing.T) {
	n := &redisNode{}
	v := &view{}
	came := func(seqs ...uint64) {
		for _, seq := range seqs {
			v.noteFirst(n, seq)
		}
	}
	before := func(seq, confirmation uint64, want bool) {
		t.Helper()
		if got := v.before(seq, confirmation); got != want {
			t.Errorf("%d is before confirmation %d: %v", seq, confirmation, got)
		}
	}
	came(10, 11)
	n.confirmations.Store(1)
	before(5, 1, false) // nothing has come since: it is in its order
	came(20, 21)
	n.confirmations.Store(3)
	came(30)
	before(19, 1, true)
	before(20, 1, false)
	before(29, 2, true) // no envelope came between two confirmations
	before(29, 3, true)
	before(31, 3, false)
	before(31, 4, false)
	v.forgetFirsts(20)
	before(19, 1, false) // it is not sent again
	before(29, 2, true)
	for i := range uint64(2 * maxFirsts) {
		n.confirmations.Add(1)
		came(100 + i)
	}
	if len(v.firsts) > maxFirsts {
		t.Errorf("%d are kept", len(v.firsts))
	}
	before(99, 4, false)
}
