package cluster

import (
	"errors"
	"net/netip"
	"slices"

	"github.com/hashicorp/memberlist"
	"go.uber.org/zap"

	"logux-proxy/wire"
)

// A delegate is what memberlist calls back. It calls while it holds its locks, or on the loop that reads packets, and
// the bytes that it hands over stay its own: every method here copies, hands on and returns, and none
// calls memberlist.
type delegate struct{ m *Members }

var (
	_ memberlist.Delegate      = delegate{}
	_ memberlist.EventDelegate = delegate{}
	_ memberlist.AliveDelegate = delegate{}
)

// NodeMeta implements memberlist.Delegate.
func (d delegate) NodeMeta(int) []byte {
	meta := d.m.Meta()
	text, err := meta.encode()
	if err != nil { // New has made sure that it cannot be
		d.m.log.Error("Own meta", zap.Error(err))
		return nil
	}
	return text
}

// NotifyMsg implements memberlist.Delegate.
func (d delegate) NotifyMsg(msg []byte) {
	if d.m.receive != nil {
		d.m.receive(msg)
	}
}

// GetBroadcasts implements memberlist.Delegate. What has to reach everybody goes over the links.
func (delegate) GetBroadcasts(int, int) [][]byte { return nil }

// LocalState implements memberlist.Delegate.
func (delegate) LocalState(bool) []byte { return nil }

// MergeRemoteState implements memberlist.Delegate.
func (delegate) MergeRemoteState([]byte, bool) {}

var errNoMember = errors.New("it is not a server's name")

// NotifyAlive implements memberlist.AliveDelegate: whoever has no proper name does not become a member.
func (d delegate) NotifyAlive(n *memberlist.Node) error {
	if !wire.ServerID(n.Name).Valid() {
		return errNoMember
	}
	return nil
}

// NotifyJoin implements memberlist.EventDelegate.
func (d delegate) NotifyJoin(n *memberlist.Node) {
	m := memberOf(n)
	if !d.m.view.set(m) {
		d.m.refused.Add(1)
		return
	}
	if m.ID == d.m.cfg.Self {
		return
	}
	d.m.joins.Add(1)
	d.m.lost.forget(m.Addr)
	d.m.log.Info("A server joined", zap.String("server", string(m.ID)), zap.Stringer("address", m.Addr), zap.String("release", m.Meta.Release))
}

// NotifyUpdate implements memberlist.EventDelegate.
func (d delegate) NotifyUpdate(n *memberlist.Node) { d.m.view.set(memberOf(n)) }

// NotifyLeave implements memberlist.EventDelegate.
func (d delegate) NotifyLeave(n *memberlist.Node) {
	m, ok := d.m.view.remove(wire.ServerID(n.Name))
	if !ok || m.ID == d.m.cfg.Self {
		return
	}
	d.m.leaves.Add(1)
	if !m.Meta.Draining { // it did not say goodbye: it may be behind a broken network
		d.m.lost.add(m.Addr)
	}
	d.m.log.Info("A server left", zap.String("server", string(m.ID)), zap.Bool("drained", m.Meta.Draining))
}

func memberOf(n *memberlist.Node) Member {
	ip, _ := netip.AddrFromSlice(n.Addr)
	meta, _ := decodeMeta(slices.Clone(n.Meta))
	return Member{ID: wire.ServerID(n.Name), Addr: netip.AddrPortFrom(ip.Unmap(), n.Port), Meta: meta}
}
