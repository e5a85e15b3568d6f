package cluster

import (
	"strconv"
	"sync"

	"logux-proxy/wire"
)

// Topics are spread over a fixed number of partitions, and partitions over the Redis servers there are. All servers of ours, of
// all releases, must agree on it: none of what follows may change.

// partitions is how many there are.
const partitions = 256

// partitionOf returns the partition of a topic.
func partitionOf(topic wire.Topic) uint8 { return uint8(hash(string(topic), 0) >> 56) }

// hash is FNV-1a with a finish that spreads what differs only in the last bytes.
func hash(s string, seed uint64) uint64 {
	h := uint64(14695981039346656037) ^ seed
	for i := range len(s) {
		h = (h ^ uint64(s[i])) * 1099511628211
	}
	h ^= h >> 33
	h *= 0xff51afd7ed558ccd
	h ^= h >> 33
	h *= 0xc4ceb9fe1a85ec53
	return h ^ h>>33
}

// rendezvous returns the index of the name that partition p belongs to: when a name goes, only its partitions move, and
// the order of names does not matter.
func rendezvous(p uint8, names []string) int {
	best, most := 0, uint64(0)
	for i, name := range names {
		if h := hash(name, uint64(p)+1); h > most || h == most && name < names[best] {
			best, most = i, h
		}
	}
	return best
}

// hashTags returns for each partition what stands between braces in its channels' names on a Redis Cluster, so that all
// of them are in one slot. The slots of all partitions are evenly apart, so that masters with equally many slots
// serve equally many partitions; names at random would differ by a third.
var hashTags = sync.OnceValue(func() *[partitions]string {
	var tags [partitions]string
	for i, missing := int64(0), partitions; missing > 0; i++ {
		tag := strconv.FormatInt(i, 36)
		if p := slotOf(tag) / (slots / partitions); tags[p] == "" {
			tags[p] = tag
			missing--
		}
	}
	return &tags
})

// slots is how many a Redis Cluster has.
const slots = 16384

// slotOf is the slot of a key without a hash tag: CRC16 in the form XMODEM, as the Redis Cluster specification says.
func slotOf(key string) int {
	crc := uint16(0)
	for i := range len(key) {
		crc ^= uint16(key[i]) << 8
		for range 8 {
			if crc&0x8000 != 0 {
				crc = crc<<1 ^ 0x1021
			} else {
				crc <<= 1
			}
		}
	}
	return int(crc) % slots
}
