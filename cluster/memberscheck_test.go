package cluster

import (
	"errors"
	"net/netip"
	"testing"
)

// Who asks is answered when key and cluster are the same, and becomes no member.
func TestCheckMember(t *testing.T) {
	a := start(t, "a", func(c *MembersConfig) {
		c.Bind, c.Cluster, c.tune = "127.0.0.1:0", "blue", quick
		c.Keys = []Key{key('k', 32)}
	}, LinksConfig{})
	addr := a.members.Addr()
	for _, c := range []struct {
		name    string
		cluster string
		keys    []Key
		well    bool
	}{
		{"the same", "blue", []Key{key('k', 32)}, true},
		{"a key that is accepted too", "blue", []Key{key('k', 32), key('x', 32)}, true},
		{"another key", "blue", []Key{key('x', 32)}, false},
		{"no key", "blue", nil, false},
		{"another cluster", "green", []Key{key('k', 32)}, false},
	} {
		err := CheckMember(t.Context(), MembersConfig{Cluster: c.cluster, Keys: c.keys, tune: quick}, addr)
		if (err == nil) != c.well || err != nil && !errors.Is(err, ErrNoGossip) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
	if err := CheckMember(t.Context(), MembersConfig{tune: quick}, netip.MustParseAddrPort("127.0.0.1:9")); !errors.Is(err, ErrNoGossip) {
		t.Errorf("nobody: %v", err)
	}
	// What the first packets could have said was heard long ago.
	if joined := a.members.joins.Load(); joined != 0 || len(a.members.Peers()) != 0 {
		t.Errorf("who asked became a member: %d, %v", joined, a.members.Peers())
	}
}
