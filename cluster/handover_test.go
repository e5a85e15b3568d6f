package cluster

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"logux-proxy/wire"
)

// The contract of a HandoverStore, for each that there is. Times are real, since Redis has them.
func TestStoreContract(t *testing.T) {
	stores := map[string]func(t *testing.T) HandoverStore{
		"local": func(*testing.T) HandoverStore { return LocalStore() },
		"Redis": func(t *testing.T) HandoverStore { return redisStore(t, "redis://"+startRedis(t).addr) },
		"several": func(t *testing.T) HandoverStore {
			return redisStore(t, "redis://"+startRedis(t).addr+",redis://"+startRedis(t).addr)
		},
		"Sentinel": func(t *testing.T) HandoverStore {
			url, _, _ := startSentinels(t)
			return redisStore(t, url)
		},
		"Cluster": func(t *testing.T) HandoverStore {
			url, _ := startCluster(t)
			return redisStore(t, url)
		},
	}
	for name, open := range stores {
		t.Run(name, func(t *testing.T) {
			s := open(t)
			for name, test := range contract {
				t.Run(name, func(t *testing.T) { test(t, s, t.Name()) })
			}
		})
	}
}

// redisStore returns a store at a URL.
func redisStore(t *testing.T, url string) *RedisStore {
	t.Helper()
	r, err := ParseRedis(url)
	if err != nil {
		t.Fatal(err)
	}
	store := r.HandoverStore()
	t.Cleanup(func() {
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	})
	return store
}

const (
	long  = time.Minute
	short = 150 * time.Millisecond
)

// Each case gets a store that others use too, and a name that no other case has.
var contract = map[string]func(t *testing.T, s HandoverStore, name string){
	"record": func(t *testing.T, s HandoverStore, name string) {
		ctx, client := t.Context(), wire.ClientID(name)
		check := func(want ...entry) {
			t.Helper()
			wantEntries(t, s, client, want...)
		}
		check()
		x := entry{id: "x", owner: "server:a/1-A"}
		y := entry{id: "y", settled: true, outcome: []byte(`{"type":"logux/processed"}`), added: 7}
		put := func(entries ...entry) {
			t.Helper()
			if err := s.put(ctx, client, entries, long); err != nil {
				t.Fatal(err)
			}
		}
		put()
		check()
		put(x, y)
		put(x, y)
		check(x, y)
		// In flight elsewhere now; what is settled stays so, with the first outcome and the last number.
		x.owner = "server:b/1-B"
		again, other := y, y
		again.added, other.outcome = 9, []byte("other")
		put(x, entry{id: "y", owner: "server:b/1-B"}, other, again)
		y.added = 9
		check(x, y)

		settle := func(e entry, create bool, want entry, ok bool) {
			t.Helper()
			got, has, err := s.settle(ctx, client, e, create, long)
			if err != nil || has != ok || ok && !equal(got, want) {
				t.Errorf("settling %s: %+v, %v, %v", e.id, got, has, err)
			}
		}
		binary := entry{id: "x", settled: true, outcome: []byte("\x00\xff\r\n"), added: -1}
		settle(binary, false, binary, true)
		settle(other, false, y, true)
		settle(other, true, y, true)
		z := entry{id: "z \x00", settled: true, outcome: []byte{}}
		settle(z, false, entry{}, false)
		check(binary, y)
		settle(z, true, z, true)
		settle(z, true, z, true)
		check(binary, y, z)
		for _, c := range []struct {
			id   wire.ActionID
			want entry
			ok   bool
		}{{"x", binary, true}, {"nothing", entry{}, false}} {
			if got, ok, err := s.look(ctx, client, c.id); err != nil || ok != c.ok || !equal(got, c.want) {
				t.Errorf("looking for %s: %+v, %v, %v", c.id, got, ok, err)
			}
		}
		wantEntries(t, s, client+" another")
		for range 2 {
			if err := s.forget(ctx, client, []wire.ActionID{"x", "nothing", "z \x00"}); err != nil {
				t.Error(err)
			}
		}
		check(y)
	},
	"record is forgotten": func(t *testing.T, s HandoverStore, name string) {
		ctx, client := t.Context(), wire.ClientID(name)
		e := []entry{{id: "x", owner: "server:a/1-A"}}
		if err := s.put(ctx, client, e, short); err != nil {
			t.Fatal(err)
		}
		if err := s.put(ctx, client+" long", e, long); err != nil {
			t.Fatal(err)
		}
		if err := s.put(ctx, client+" long", e, time.Millisecond); err != nil { // does not shorten
			t.Fatal(err)
		}
		eventually(t, "the record goes", func() bool {
			got, err := s.get(ctx, client)
			return err == nil && len(got) == 0
		})
		wantEntries(t, s, client+" long", e...)
	},
	"record is bounded": func(t *testing.T, s HandoverStore, name string) {
		ctx, client := t.Context(), wire.ClientID(name)
		var full error
		for at := 0; at < 2*maxRecordEntries && full == nil; at += 1000 {
			var entries []entry
			for i := range 1000 {
				entries = append(entries, entry{id: wire.ActionID(fmt.Sprint(at + i)), owner: "server:a/1-A"})
			}
			full = s.put(ctx, client, entries, long)
		}
		if !errors.Is(full, ErrRecordSize) {
			t.Errorf("a record without end: %v", full)
		}
		if got, err := s.get(ctx, client); err != nil || len(got) != maxRecordEntries {
			t.Errorf("%d entries, %v", len(got), err)
		}
	},
	"lease": func(t *testing.T, s HandoverStore, name string) {
		ctx := t.Context()
		a, b, c := wire.ServerID("server:a/1-"+name), wire.ServerID("server:b/1-"+name), wire.ServerID("server:c/1-"+name)
		renew := func(holder wire.ServerID, lease time.Duration, want leaseState) {
			t.Helper()
			if got, err := s.renew(ctx, a, holder, lease, long); err != nil || got != want {
				t.Errorf("renewing by %s: %v, %v", holder, got, err)
			}
		}
		holder := func(want wire.ServerID) {
			t.Helper()
			if got, err := s.holder(ctx, a); err != nil || got != want {
				t.Errorf("the holder is %q, %v; want %q", got, err, want)
			}
		}
		take := func(by wire.ServerID, want bool) {
			t.Helper()
			if got, err := s.take(ctx, a, by, long, long); err != nil || got != want {
				t.Errorf("taking by %s: %v, %v", by, got, err)
			}
		}
		holder("")
		take(b, false) // there is nothing
		holder("")
		renew(a, long, leaseNew)
		renew(a, long, leaseKept)
		renew(b, long, leaseTaken)
		holder(a)
		if err := s.claim(ctx, a, a, "x", []byte("claim x"), short, long); err != nil {
			t.Fatal(err)
		}
		if err := s.claim(ctx, a, a, "y", []byte("claim y"), short, long); err != nil {
			t.Fatal(err)
		}
		take(b, false)
		eventually(t, "the lease ends", func() bool { h, err := s.holder(ctx, a); return err == nil && h == "" })
		take(b, true)
		take(b, true)
		take(c, false)
		holder(b)
		renew(a, long, leaseTaken)
		if err := s.claim(ctx, a, a, "z", nil, long, long); !errors.Is(err, ErrTaken) {
			t.Errorf("claiming in an estate of another: %v", err)
		}
		if err := s.unclaim(ctx, a, a, "x"); !errors.Is(err, ErrTaken) {
			t.Errorf("settling in an estate of another: %v", err)
		}
		wantClaims(t, s, a, "x", "y")
		for range 2 {
			if err := s.unclaim(ctx, a, b, "x"); err != nil {
				t.Error(err)
			}
		}
		wantClaims(t, s, a, "y")
		for id, want := range map[wire.ActionID]bool{"x": false, "y": true} {
			if got, err := s.claimed(ctx, a, id); err != nil || got != want {
				t.Errorf("%s is claimed: %v, %v", id, got, err)
			}
		}
		owned(t, s, a, true)
		if err := s.unclaim(ctx, a, b, "y"); err != nil {
			t.Error(err)
		}
		take(b, false) // the end of it
		holder("")
		owned(t, s, a, false)
		if err := s.claim(ctx, a, a, "z", nil, long, long); !errors.Is(err, ErrTaken) {
			t.Errorf("claiming before it is known that another had it: %v", err)
		}
		renew(a, long, leaseBack)
		renew(a, long, leaseKept)
		if err := s.claim(ctx, a, a, "z", []byte("claim z"), short, long); err != nil {
			t.Fatal(err)
		}
		eventually(t, "the lease ends", func() bool { h, err := s.holder(ctx, a); return err == nil && h == "" })
		renew(a, long, leaseNew)
	},
	"claims": func(t *testing.T, s HandoverStore, name string) {
		ctx, a := t.Context(), wire.ServerID("server:a/1-"+name)
		ids := make([]string, 0, 500)
		for i := range 500 {
			id := fmt.Sprintf("%03d", i)
			ids = append(ids, id)
			for range 1 + i%2 {
				if err := s.claim(ctx, a, a, wire.ActionID(id), []byte("claim "+id), long, long); err != nil {
					t.Fatal(err)
				}
			}
		}
		wantClaims(t, s, a, ids...)
		seen := 0
		if err := s.claims(ctx, a, func(wire.ActionID, []byte) bool { seen++; return seen < 3 }); err != nil || seen != 3 {
			t.Errorf("%d claims, %v", seen, err)
		}
		wantClaims(t, s, a+"other")
		owned(t, s, a, true)
	},
	"claims are forgotten": func(t *testing.T, s HandoverStore, name string) {
		ctx, a := t.Context(), wire.ServerID("server:a/1-"+name)
		if err := s.claim(ctx, a, a, "x", []byte("x"), short, 2*short); err != nil {
			t.Fatal(err)
		}
		eventually(t, "the claim goes", func() bool { ok, err := s.claimed(ctx, a, "x"); return err == nil && !ok })
		if ok, err := s.take(ctx, a, "server:b/1-B", long, long); ok || err != nil {
			t.Errorf("taking nothing: %v, %v", ok, err)
		}
		owned(t, s, a, false)
	},
	"claims are bounded": func(t *testing.T, s HandoverStore, name string) {
		ctx, a := t.Context(), wire.ServerID("server:a/1-"+name)
		var wait sync.WaitGroup
		var full atomic.Int64
		for w := range 8 {
			wait.Go(func() {
				for i := w; i < maxClaims+10; i += 8 {
					switch err := s.claim(ctx, a, a, wire.ActionID(fmt.Sprint(i)), nil, long, long); {
					case errors.Is(err, ErrClaimsFull):
						full.Add(1)
					case err != nil:
						t.Error(err)
						return
					}
				}
			})
		}
		wait.Wait()
		if full.Load() != 10 {
			t.Errorf("%d claims were refused", full.Load())
		}
	},
	"one takes": func(t *testing.T, s HandoverStore, name string) {
		for round := range 20 {
			owner := wire.ServerID(fmt.Sprint("server:a/1-", name, round))
			if err := s.claim(t.Context(), owner, owner, "x", nil, time.Millisecond, long); err != nil {
				t.Fatal(err)
			}
			eventually(t, "the lease ends", func() bool { h, err := s.holder(t.Context(), owner); return err == nil && h == "" })
			var wait sync.WaitGroup
			var takers atomic.Int64
			for i := range 8 {
				wait.Go(func() {
					ok, err := s.take(t.Context(), owner, wire.ServerID(fmt.Sprint("server:b/1-", i)), long, long)
					if err != nil {
						t.Error(err)
					}
					if ok {
						takers.Add(1)
					}
				})
			}
			wait.Wait()
			if takers.Load() != 1 {
				t.Fatalf("%d took over", takers.Load())
			}
		}
	},
	"one settles": func(t *testing.T, s HandoverStore, name string) {
		for round := range 20 {
			client := wire.ClientID(fmt.Sprint(name, round))
			var wait sync.WaitGroup
			var mu sync.Mutex
			kept := make(map[string]bool)
			for i := range 8 {
				wait.Go(func() {
					e, ok, err := s.settle(t.Context(), client, entry{id: "x", settled: true, outcome: fmt.Append(nil, i)}, true, long)
					if err != nil || !ok {
						t.Errorf("%v, %v", ok, err)
					}
					mu.Lock()
					defer mu.Unlock()
					kept[string(e.outcome)] = true
				})
			}
			wait.Wait()
			if len(kept) != 1 {
				t.Fatalf("%d outcomes", len(kept))
			}
		}
	},
}

func equal(a, b entry) bool {
	return a.id == b.id && a.owner == b.owner && a.settled == b.settled && a.added == b.added && bytes.Equal(a.outcome, b.outcome)
}

func wantEntries(t *testing.T, s HandoverStore, client wire.ClientID, want ...entry) {
	t.Helper()
	got, err := s.get(t.Context(), client)
	if err != nil {
		t.Fatal(err)
	}
	byID := func(a, b entry) int { return strings.Compare(string(a.id), string(b.id)) }
	slices.SortFunc(got, byID)
	slices.SortFunc(want, byID)
	if !slices.EqualFunc(got, want, equal) {
		t.Errorf("the record of %s is %+v, want %+v", client, got, want)
	}
}

func wantClaims(t *testing.T, s HandoverStore, owner wire.ServerID, want ...string) {
	t.Helper()
	seen := make(map[string]bool)
	err := s.claims(t.Context(), owner, func(id wire.ActionID, text []byte) bool {
		if string(text) != "claim "+string(id) {
			t.Errorf("the claim of %s is %q", id, text)
		}
		seen[string(id)] = true
		return true
	})
	got := make([]string, 0, len(seen))
	for id := range seen {
		got = append(got, id)
	}
	slices.Sort(got)
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("the claims of %s are %v, %v; want %v", owner, got, err, want)
	}
}

func owned(t *testing.T, s HandoverStore, owner wire.ServerID, want bool) {
	t.Helper()
	owners, err := s.owners(t.Context())
	if err != nil || slices.Contains(owners, owner) != want {
		t.Errorf("the owners are %v, %v; %s among them should be %v", owners, err, owner, want)
	}
}

// Nothing that a store keeps in Redis is without an end, but the set of owners.
func TestRedisKeysExpire(t *testing.T) {
	server := startRedis(t)
	s := redisStore(t, "redis://"+server.addr)
	ctx := t.Context()
	if err := s.put(ctx, "38:a", []entry{{id: "x", owner: "server:a/1-A"}}, long); err != nil {
		t.Fatal(err)
	}
	if _, _, err := s.settle(ctx, "38:b", entry{id: "x", settled: true}, true, long); err != nil {
		t.Fatal(err)
	}
	if err := s.claim(ctx, "server:a/1-A", "server:a/1-A", "x", nil, long, long); err != nil {
		t.Fatal(err)
	}
	client := s.servers[0].client
	keys, err := client.Keys(ctx, "*").Result()
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(keys)
	want := []string{"logux:claims:{server:a/1-A}", "logux:left:38:a", "logux:left:38:b", "logux:life:{server:a/1-A}", "logux:owners"}
	if !slices.Equal(keys, want) {
		t.Errorf("keys are %q", keys)
	}
	for _, key := range keys {
		if ttl, err := client.PTTL(ctx, key).Result(); err != nil || key != "logux:owners" && (ttl <= 0 || ttl > long) {
			t.Errorf("%s lives %v, %v", key, ttl, err)
		}
	}
}

func TestStoreWithoutRedis(t *testing.T) {
	server := startRedis(t)
	s := redisStore(t, "redis://"+server.addr)
	server.kill()
	ctx, cancel := context.WithTimeout(t.Context(), waitTime)
	defer cancel()
	id := wire.ServerID("server:a/1-A")
	for name, err := range map[string]error{
		"put":     s.put(ctx, "c", []entry{{id: "x"}}, long),
		"get":     second(s.get(ctx, "c")),
		"look":    third(s.look(ctx, "c", "x")),
		"settle":  third(s.settle(ctx, "c", entry{id: "x"}, true, long)),
		"forget":  s.forget(ctx, "c", []wire.ActionID{"x"}),
		"renew":   second(s.renew(ctx, id, id, long, long)),
		"claim":   s.claim(ctx, id, id, "x", nil, long, long),
		"unclaim": s.unclaim(ctx, id, id, "x"),
		"take":    second(s.take(ctx, id, id, long, long)),
		"claims":  s.claims(ctx, id, func(wire.ActionID, []byte) bool { return true }),
		"claimed": second(s.claimed(ctx, id, "x")),
		"holder":  second(s.holder(ctx, id)),
		"owners":  second(s.owners(ctx)),
	} {
		if err == nil || errors.Is(err, ErrTaken) || !strings.HasPrefix(err.Error(), "cluster: ") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func second[A any](_ A, err error) error        { return err }
func third[A, B any](_ A, _ B, err error) error { return err }

func FuzzClaim(f *testing.F) {
	c := wire.Claim{Client: "38:a", Action: []byte(`{"type":"a"}`), Headers: []byte(`{}`)}
	f.Add(encodeClaim(&c))
	f.Add(encodeClaim(&c)[:7])
	f.Add(append(encodeClaim(&c), 1, 2, 3))
	f.Add([]byte{claimVersion, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1})
	f.Fuzz(func(t *testing.T, text []byte) {
		c, err := decodeClaim("server:a/1-A", "x", text)
		if err != nil {
			return
		}
		again, err := decodeClaim("server:a/1-A", "x", encodeClaim(&c))
		if err != nil || again.Client != c.Client || !bytes.Equal(again.Action, c.Action) || !bytes.Equal(again.Headers, c.Headers) {
			t.Errorf("%+v became %+v, %v", c, again, err)
		}
		if len(c.Client)+len(c.Action)+len(c.Headers) > len(text) {
			t.Error("the claim is longer than its text")
		}
	})
}

func FuzzEntry(f *testing.F) {
	f.Add("fserver:a/1-A")
	f.Add("o\x00\x00\x00\x00\x00\x00\x00\x07{}")
	f.Add("o123")
	f.Fuzz(func(t *testing.T, text string) {
		e, ok := decodeEntry("x", text)
		if ok && string(e.encode()) != text {
			t.Errorf("%q became %q", text, e.encode())
		}
	})
}
