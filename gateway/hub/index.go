package hub

import "sync"

// shards is how many locks an index has: enough that loops on all cores of a big machine
// rarely meet, few enough that an empty hub is small.
const shards = 64

// An index is a map in shards.
type index[K comparable, V any] struct {
	all [shards]shard[K, V]
}

// A shard is one part of an index with its lock.
type shard[K comparable, V any] struct {
	mu sync.RWMutex
	// Guarded by mu.
	items map[K]V
	_     [64]byte // two shards' locks share no cache line
}

func (x *index[K, V]) init() {
	for i := range x.all {
		x.all[i].items = make(map[K]V)
	}
}

// shard returns the one for keys of that hash. It looks at the upper bits: the lower ones are
// compared elsewhere (Member.client).
func (x *index[K, V]) shard(hash uint64) *shard[K, V] {
	return &x.all[hash>>32%shards]
}

func (x *index[K, V]) len() (n int64) {
	for i := range x.all {
		s := &x.all[i]
		s.mu.RLock()
		n += int64(len(s.items))
		s.mu.RUnlock()
	}
	return n
}
