package cluster

import (
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/hashicorp/memberlist"
)

// A Key encrypts gossip: 16, 24 or 32 bytes for AES-128, AES-192 or AES-256. It is a secret and prints as a
// placeholder.
type Key []byte

// String hides the key.
func (Key) String() string { return "[key]" }

// GoString hides the key.
func (Key) GoString() string { return "[key]" }

// ParseKeys reads base64 keys with commas between them, in the standard or the URL alphabet, padded or not. The first is
// used to encrypt, all are accepted: so a new key is added as the second everywhere, then made the first
// everywhere, and then the old one is taken away. The error never shows a key.
func ParseKeys(text string) ([]Key, error) {
	var keys []Key
	for part := range strings.SplitSeq(text, ",") {
		part = strings.TrimSpace(part)
		if part == "" {
			continue
		}
		part = strings.NewReplacer("-", "+", "_", "/").Replace(strings.TrimRight(part, "="))
		key, err := base64.RawStdEncoding.DecodeString(part)
		if err != nil {
			return nil, fmt.Errorf("cluster: gossip key %d is not base64", len(keys)+1)
		}
		if err := memberlist.ValidateKey(key); err != nil {
			return nil, fmt.Errorf("cluster: gossip key %d has %d bytes, not 16, 24 or 32", len(keys)+1, len(key))
		}
		keys = append(keys, key)
	}
	return keys, nil
}

// newKeyring returns a keyring that encrypts with the first of keys; nil for no keys.
func newKeyring(keys []Key) (*memberlist.Keyring, error) {
	if len(keys) == 0 {
		return nil, nil
	}
	var all [][]byte
	for _, key := range keys {
		all = append(all, slices.Clone(key))
	}
	ring, err := memberlist.NewKeyring(all, all[0])
	if err != nil {
		return nil, fmt.Errorf("cluster: gossip keys: %w", err)
	}
	return ring, nil
}

var errNoKeys = errors.New("cluster: gossip keys can be changed, but neither taken away nor given to a running server")

// rotate makes the keys of ring those given, in that order. Readers of the ring work with the slice that they
// got before, which RemoveKey changes in place unless the key is the last one: so the keys to go are
// brought to the end first.
func rotate(ring *memberlist.Keyring, keys []Key) error {
	if ring == nil || len(keys) == 0 {
		return errNoKeys
	}
	for _, key := range keys {
		if err := memberlist.ValidateKey(key); err != nil {
			return fmt.Errorf("cluster: gossip keys: %w", err)
		}
	}
	for _, key := range keys {
		if err := ring.AddKey(slices.Clone(key)); err != nil {
			return fmt.Errorf("cluster: adding a gossip key: %w", err)
		}
	}
	if !startsWith(ring.GetKeys(), keys) {
		for _, key := range slices.Backward(keys) {
			if err := ring.UseKey(key); err != nil {
				return fmt.Errorf("cluster: ordering gossip keys: %w", err)
			}
		}
	}
	for have := ring.GetKeys(); len(have) > distinct(keys); have = ring.GetKeys() {
		if err := ring.RemoveKey(have[len(have)-1]); err != nil {
			return fmt.Errorf("cluster: removing a gossip key: %w", err)
		}
	}
	return nil
}

func startsWith(have [][]byte, keys []Key) bool {
	return len(have) >= len(keys) && slices.EqualFunc(have[:len(keys)], keys, func(a []byte, b Key) bool { return slices.Equal(a, b) })
}

func distinct(keys []Key) (n int) {
	for i, key := range keys {
		if !slices.ContainsFunc(keys[:i], func(k Key) bool { return slices.Equal(k, key) }) {
			n++
		}
	}
	return n
}
