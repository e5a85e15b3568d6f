package cluster

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/hashicorp/memberlist"
)

// A BusState says how a server stands with the bus. The empty one means that there is no bus.
type BusState string

// States of the bus as members tell them.
const (
	BusOK       BusState = "ok"       // envelopes go through Redis
	BusDegraded BusState = "degraded" // some of them go past it, or a gap is being healed
	BusDown     BusState = "down"     // Redis does not answer
)

// Meta is what a member tells the others about itself. It travels with every sign of life and has to fit into
// 512 bytes; keys that a later release adds are ignored.
type Meta struct {
	Release     string   `json:"r,omitempty"` // of the program, at most 64 bytes
	Envelope    int      `json:"e,omitempty"` // newest version of the envelope that it reads
	Connections int      `json:"c,omitempty"` // clients connected
	Load        int      `json:"l,omitempty"` // per cent of what it can bear
	Draining    bool     `json:"d,omitempty"` // it is about to go
	Bus         BusState `json:"b,omitempty"`
	Address     string   `json:"a,omitempty"` // where clients reach it, at most 128 bytes
}

// Bounds of the texts in Meta. Characters that JSON escapes take more room: validate looks at what comes out.
const (
	maxRelease = 64
	maxAddress = 128
	maxBus     = 16
)

// encode returns m as it travels.
func (m *Meta) encode() ([]byte, error) {
	text, err := json.Marshal(m)
	if err != nil {
		return nil, fmt.Errorf("cluster: encoding the member's meta: %w", err)
	}
	if len(text) > memberlist.MetaMaxSize {
		return nil, fmt.Errorf("cluster: the member's meta has %d bytes, over %d", len(text), memberlist.MetaMaxSize)
	}
	return text, nil
}

// validate checks what New is given, so that encode cannot fail later.
func (m *Meta) validate() error {
	switch {
	case len(m.Release) > maxRelease:
		return fmt.Errorf("cluster: the release has %d bytes, over %d", len(m.Release), maxRelease)
	case len(m.Address) > maxAddress:
		return fmt.Errorf("cluster: the public address has %d bytes, over %d", len(m.Address), maxAddress)
	}
	widest := *m
	widest.widen()
	_, err := widest.encode()
	return err
}

// widen gives each value that changes later its longest form.
func (m *Meta) widen() {
	m.Envelope, m.Connections, m.Load, m.Draining = maxCount, maxCount, maxCount, true
	m.Bus = BusState(strings.Repeat("x", maxBus))
}

// maxCount bounds the numbers: more than any server has, and few digits.
const maxCount = 1 << 30

// decodeMeta reads what a peer says. Whoever writes something else is a member nevertheless, about which
// nothing is known.
func decodeMeta(text []byte) (m Meta, ok bool) {
	if len(text) > memberlist.MetaMaxSize || json.Unmarshal(text, &m) != nil {
		return Meta{}, false
	}
	if len(m.Release) > maxRelease || len(m.Address) > maxAddress || len(m.Bus) > maxBus {
		return Meta{}, false
	}
	m.clamp()
	return m, true
}

func (m *Meta) clamp() {
	for _, n := range []*int{&m.Envelope, &m.Connections, &m.Load} {
		*n = min(max(*n, 0), maxCount)
	}
}
