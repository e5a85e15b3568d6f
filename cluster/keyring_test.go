package cluster

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
)

func TestParseKeys(t *testing.T) {
	a, b := bytes.Repeat([]byte{0xfb}, 16), bytes.Repeat([]byte{0xff}, 32)
	std, url := base64.StdEncoding.EncodeToString, base64.URLEncoding.EncodeToString
	for _, text := range []string{
		std(a) + "," + std(b),
		url(a) + ", " + url(b),
		strings.TrimRight(std(a), "=") + ",\n" + strings.TrimRight(url(b), "=") + ",",
	} {
		keys, err := ParseKeys(text)
		if err != nil || len(keys) != 2 || !bytes.Equal(keys[0], a) || !bytes.Equal(keys[1], b) {
			t.Errorf("%d keys, %v", len(keys), err)
		}
	}
	if keys, err := ParseKeys(" "); err != nil || len(keys) != 0 {
		t.Errorf("nothing: %d keys, %v", len(keys), err)
	}
	secret := "c2VjcmV0c2VjcmV0" // twelve bytes
	for _, text := range []string{secret, std(a) + "," + secret, "se!cret", std(make([]byte, 15)), std(make([]byte, 33))} {
		if _, err := ParseKeys(text); err == nil || strings.Contains(err.Error(), "se") && strings.Contains(err.Error(), "cret") || strings.Contains(err.Error(), secret) {
			t.Errorf("%q: %v", text, err)
		}
	}
	if got := fmt.Sprintf("%v %+v %#v %s", Key("secret"), Key("secret"), Key("secret"), []Key{Key("secret")}); strings.Contains(got, "secret") || strings.Contains(got, "115") {
		t.Errorf("a key prints as %s", got)
	}
}

// Whatever keys there are and whatever is wanted: afterwards the ring has exactly these, in this order.
func TestRotate(t *testing.T) {
	names := []string{"a", "b", "c", "d"}
	var orders [][]Key
	for mask := 1; mask < 1<<len(names); mask++ {
		var keys []Key
		for i, name := range names {
			if mask>>i&1 == 1 {
				keys = append(keys, key(name[0], 16+8*(i%3)))
			}
		}
		for range len(keys) {
			keys = append(keys[1:len(keys):len(keys)], keys[0])
			orders = append(orders, keys)
		}
	}
	for _, from := range orders {
		for _, to := range orders {
			ring, err := newKeyring(from)
			if err != nil {
				t.Fatal(err)
			}
			if err := rotate(ring, to); err != nil {
				t.Fatal(err)
			}
			if got := ring.GetKeys(); len(got) != len(to) || !startsWith(got, to) {
				t.Fatalf("from %q to %q: the ring has %q", plain(from), plain(to), got)
			}
		}
	}
	ring, _ := newKeyring([]Key{key('a', 16)})
	if err := rotate(ring, []Key{key('b', 16), key('b', 16)}); err != nil || len(ring.GetKeys()) != 1 {
		t.Errorf("a key twice: %v, %d keys", err, len(ring.GetKeys()))
	}
}

func plain(keys []Key) (texts []string) {
	for _, k := range keys {
		texts = append(texts, string(k))
	}
	return texts
}

// Packets are decrypted while keys change: with the race detector this fails if a slice of keys in use is written.
func TestRotateWhileInUse(t *testing.T) {
	steps := [][]Key{{key('a', 16)}, {key('a', 16), key('b', 32)}, {key('b', 32), key('a', 16)}, {key('b', 32)}, {key('c', 24), key('b', 32)}, {key('c', 24)}}
	ring, err := newKeyring(steps[0])
	if err != nil {
		t.Fatal(err)
	}
	stop := make(chan struct{})
	var readers sync.WaitGroup
	for range 4 {
		readers.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				keys := ring.GetKeys()
				if len(keys) == 0 || slices.ContainsFunc(keys, func(k []byte) bool { return k[0] < 'a' || k[0] > 'c' }) {
					t.Error("the ring has a broken key")
					return
				}
			}
		})
	}
	for i := range 2000 {
		if err := rotate(ring, steps[i%len(steps)]); err != nil {
			t.Error(err)
		}
	}
	close(stop)
	readers.Wait()
}
