package cluster

import (
	"encoding/binary"
	"errors"
	"slices"

	"logux-proxy/wire"
)

// In Redis a claim is a version byte and its fields, each a text after its length as a uvarint: client, action, headers. A later release may add fields at the end.
const claimVersion = 1

func encodeClaim(c *wire.Claim) []byte {
	fields := [][]byte{[]byte(c.Client), c.Action, c.Headers}
	size := 1
	for _, f := range fields {
		size += binary.MaxVarintLen32 + len(f)
	}
	b := append(make([]byte, 0, size), claimVersion)
	for _, f := range fields {
		b = binary.AppendUvarint(b, uint64(len(f)))
		b = append(b, f...)
	}
	return b
}

var errClaimCode = errors.New("cluster: the claim is of an unknown version, or cut")

func decodeClaim(owner wire.ServerID, id wire.ActionID, b []byte) (wire.Claim, error) {
	if len(b) == 0 || b[0] != claimVersion {
		return wire.Claim{}, errClaimCode
	}
	b = b[1:]
	var fields [3][]byte
	for i := range fields {
		var ok bool
		if fields[i], b, ok = cutBytes(b); !ok {
			return wire.Claim{}, errClaimCode
		}
	}
	return wire.Claim{
		Owner: owner, ID: id,
		Client: wire.ClientID(fields[0]),
		Action: slices.Clone(fields[1]), Headers: slices.Clone(fields[2]),
	}, nil
}

// In a record an action in flight is "f" and its owner; a settled one is "o", Added in eight bytes, and the outcome.
const (
	entryInFlight = 'f'
	entrySettled  = 'o'
	entryHead     = 9 // bytes before the outcome
)

func (e *entry) encode() []byte {
	if !e.settled {
		return append([]byte{entryInFlight}, e.owner...)
	}
	b := append(make([]byte, 0, entryHead+len(e.outcome)), entrySettled)
	b = binary.BigEndian.AppendUint64(b, uint64(e.added))
	return append(b, e.outcome...)
}

// decodeEntry reads a value of a record. What a later release may have written is not ok.
func decodeEntry(id wire.ActionID, text string) (e entry, ok bool) {
	switch {
	case text == "":
	case text[0] == entryInFlight:
		return entry{id: id, owner: wire.ServerID(text[1:])}, true
	case text[0] == entrySettled && len(text) >= entryHead:
		added := binary.BigEndian.Uint64([]byte(text[1:entryHead]))
		return entry{id: id, settled: true, added: int64(added), outcome: []byte(text[entryHead:])}, true
	}
	return entry{}, false
}
