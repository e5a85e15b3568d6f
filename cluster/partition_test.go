package cluster

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"logux-proxy/wire"
)

// Servers of all releases must agree on where a topic is: these values may never change.
func TestPartitionsArePinned(t *testing.T) {
	for topic, want := range map[wire.Topic]uint8{"ch:posts": 27, "u:38": 52, "n:uuid": 215, "": 239} {
		if got := partitionOf(topic); got != want {
			t.Errorf("%q is in partition %d, want %d", topic, got, want)
		}
	}
	if got, want := hash(strings.Join(hashTags()[:], ","), 0), uint64(0xf966dc328a388fb9); got != want {
		t.Errorf("the hash tags hash to %#x, want %#x", got, want)
	}
	names := []string{"redis-0:6379/0", "redis-1:6379/0", "redis-2:6379/0"}
	var owners strings.Builder
	for p := range partitions {
		fmt.Fprint(&owners, rendezvous(uint8(p), names))
	}
	if got, want := hash(owners.String(), 0), uint64(0xb9bb098f62f3aa78); got != want {
		t.Errorf("the owners %s hash to %#x, want %#x", owners.String(), got, want)
	}
}

func TestTopicsAreSpread(t *testing.T) {
	var count [partitions]int
	for i := range 256 * partitions {
		count[partitionOf(wire.ChannelTopic(fmt.Sprint("posts/", i)))]++
	}
	if least, most := slices.Min(count[:]), slices.Max(count[:]); least < 150 || most > 400 {
		t.Errorf("from %d to %d topics in a partition", least, most)
	}
}

// "The same slot": a channel's slot is that of its hash tag, and tags are evenly apart.
func TestHashTags(t *testing.T) {
	if got := slotOf("123456789"); got != 0x31c3 {
		t.Errorf("CRC16 is %#x", got)
	}
	for p, tag := range hashTags() {
		if slot := slotOf(tag); slot/(slots/partitions) != p || strings.ContainsAny(tag, "{}") || tag == "" {
			t.Errorf("partition %d: tag %q in slot %d", p, tag, slot)
		}
	}
	for masters := 1; masters <= 12; masters++ {
		count := make([]int, masters)
		for _, tag := range hashTags() {
			count[slotOf(tag)*masters/slots]++
		}
		if least, most := slices.Min(count), slices.Max(count); most-least > 2 {
			t.Errorf("%d masters: %v", masters, count)
		}
	}
}

// When a server of Redis goes, only its partitions move; the order of the names does not matter.
func TestRendezvous(t *testing.T) {
	names := []string{"a:1", "b:1", "c:1", "d:1"}
	reversed := slices.Clone(names)
	slices.Reverse(reversed)
	count := make(map[string]int)
	for p := range partitions {
		name := names[rendezvous(uint8(p), names)]
		count[name]++
		if other := reversed[rendezvous(uint8(p), reversed)]; other != name {
			t.Errorf("partition %d: %s in one order, %s in the other", p, name, other)
		}
		if other := names[:3][rendezvous(uint8(p), names[:3])]; name != "d:1" && other != name {
			t.Errorf("partition %d moved from %s to %s although d:1 went", p, name, other)
		}
	}
	for name, n := range count {
		if n < 40 || n > 90 {
			t.Errorf("%s has %d partitions", name, n)
		}
	}
}
