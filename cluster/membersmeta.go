package cluster

import (
	"context"
	"time"

	"github.com/hashicorp/memberlist"
)

// Meta returns what this server tells about itself.
func (m *Members) Meta() Meta {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.meta
}

// SetLoad tells the others how many clients are connected here, and how many per cent of what this server can bear its
// load is.
func (m *Members) SetLoad(connections, percent int) {
	m.change(false, func(meta *Meta) { meta.Connections, meta.Load = connections, percent })
}

// SetDraining tells the others that this server is about to leave.
func (m *Members) SetDraining(draining bool) {
	m.change(true, func(meta *Meta) { meta.Draining = draining })
}

// SetBus tells the others how this server stands with the bus.
func (m *Members) SetBus(state BusState) {
	m.change(true, func(meta *Meta) { meta.Bus = state[:min(len(state), maxBus)] })
}

func (m *Members) change(urgent bool, change func(*Meta)) {
	m.mu.Lock()
	old := m.meta
	change(&m.meta)
	m.meta.clamp()
	changed := m.meta != old
	m.urgent = m.urgent || changed && urgent
	m.mu.Unlock()
	if changed {
		m.kickMeta()
	}
}

// updateMeta tells the others of changes at a bounded rate.
func (m *Members) updateMeta(ctx context.Context, list *memberlist.Memberlist) {
	told, at := m.Meta(), time.Now()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-m.kick:
		case <-timer.C:
		}
		m.mu.Lock()
		meta, gap := m.meta, m.cfg.MetaInterval
		if m.urgent {
			gap = min(gap, metaUrgent)
		}
		m.mu.Unlock()
		if meta == told {
			continue
		}
		if wait := gap - time.Since(at); wait > 0 {
			timer.Reset(wait)
			continue
		}
		m.mu.Lock()
		m.urgent = false
		m.mu.Unlock()
		// Nobody waits for the broadcast to be out: its time-out is no failure.
		_ = list.UpdateNode(time.Nanosecond)
		told, at = meta, time.Now()
		m.metas.Add(1)
		m.mu.Lock()
		if meta.Draining && m.drained.IsZero() {
			m.drained = at
		}
		m.mu.Unlock()
		m.kickMeta() // what changed meanwhile
	}
}

func (m *Members) kickMeta() {
	select {
	case m.kick <- struct{}{}:
	default:
	}
}
