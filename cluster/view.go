package cluster

import (
	"cmp"
	"maps"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"logux-proxy/wire"
)

// A Member is one server of the cluster as this one knows it.
type Member struct {
	ID   wire.ServerID
	Addr netip.AddrPort // where it gossips
	Meta Meta
	// Since is when it became a member, by this server's clock.
	Since time.Time
}

// A View is who was in the cluster at one moment. It never changes: Changed says when it is out of date.
type View struct {
	Members []Member // with this server itself, in the order of their IDs
	changed chan struct{}
	peers   []wire.NodeID
	byID    map[wire.ServerID]*Member
}

// Changed is closed when there is a newer view.
func (v *View) Changed() <-chan struct{} { return v.changed }

// Get returns the member with that ID.
func (v *View) Get(id wire.ServerID) (Member, bool) {
	m, ok := v.byID[id]
	if !ok {
		return Member{}, false
	}
	return *m, true
}

// maxMembers bounds what gossip can make a server remember.
const maxMembers = 1024

// A viewer keeps the current view. Its methods may be called while memberlist holds its locks: they
// do not block.
type viewer struct {
	self    wire.ServerID
	current atomic.Pointer[View]

	mu sync.Mutex
	// Guarded by mu.
	members map[wire.ServerID]Member
}

func newViewer(self wire.ServerID) *viewer {
	v := &viewer{self: self, members: make(map[wire.ServerID]Member)}
	v.current.Store(v.buildLocked())
	return v
}

// set adds a member or changes it. It reports whether there is room.
func (v *viewer) set(m Member) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	old, known := v.members[m.ID]
	if m.Since = old.Since; !known {
		m.Since = time.Now()
	}
	if known && old == m {
		return true
	}
	if !known && len(v.members) >= maxMembers {
		return false
	}
	v.members[m.ID] = m
	v.publishLocked()
	return true
}

// remove takes a member away and returns it.
func (v *viewer) remove(id wire.ServerID) (Member, bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	m, ok := v.members[id]
	if ok {
		delete(v.members, id)
		v.publishLocked()
	}
	return m, ok
}

func (v *viewer) publishLocked() {
	old := v.current.Swap(v.buildLocked())
	close(old.changed)
}

func (v *viewer) buildLocked() *View {
	view := &View{
		Members: slices.SortedFunc(maps.Values(v.members), func(a, b Member) int { return cmp.Compare(a.ID, b.ID) }),
		changed: make(chan struct{}),
		byID:    make(map[wire.ServerID]*Member, len(v.members)),
	}
	for i := range view.Members {
		m := &view.Members[i]
		view.byID[m.ID] = m
		if m.ID != v.self && !slices.Contains(view.peers, m.ID.Node()) {
			view.peers = append(view.peers, m.ID.Node())
		}
	}
	return view
}
