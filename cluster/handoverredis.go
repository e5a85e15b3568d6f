package cluster

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"slices"
	"time"

	"github.com/redis/go-redis/v9"

	"logux-proxy/wire"
)

// A RedisStore keeps what servers leave behind in Redis. Several independent servers keep a part each. Keys, after the prefix:
//
//	left:<client>     hash, action ID to an entry of the client's record
//	life:{<owner>}    who has the lease on an estate
//	claims:{<owner>}  hash, action ID to a claim
//	owners            set, whose estates there may be; one on each server
//
// A user of an ACL needs the keys with the prefix and the commands EVAL, EVALSHA, DEL, EXISTS, GET, HDEL, HEXISTS, HGET,
// HGETALL, HLEN, HSCAN, HSET, PEXPIRE, PTTL, SADD, SET, SMEMBERS and SREM.
type RedisStore struct {
	prefix  string
	servers []handoverServer
}

type handoverServer struct {
	name   string
	client redis.UniversalClient
}

// How a RedisStore connects.
const (
	handoverTimeout = 2 * time.Second
	handoverPool    = 8 // connections to each server
)

// HandoverStore returns a store there. It connects when it is used first.
func (r *Redis) HandoverStore() *RedisStore {
	quietRedis()
	s := &RedisStore{prefix: r.Prefix}
	for i := range r.servers {
		s.servers = append(s.servers, handoverServer{name: r.servers[i].name, client: r.servers[i].universal(r.cluster)})
	}
	return s
}

// universal returns a client that follows the master of Sentinels and the slots of a Cluster.
func (s *redisServer) universal(cluster bool) redis.UniversalClient {
	o := options(&s.login, s.addrs[0], handoverTimeout)
	o.PoolSize = handoverPool
	sentinel := s.sentinel.user.Load()
	switch {
	case cluster:
		return redis.NewClusterClient(&redis.ClusterOptions{
			Addrs: s.addrs, CredentialsProvider: o.CredentialsProvider, TLSConfig: s.login.tls,
			Protocol: o.Protocol, DisableIdentity: o.DisableIdentity, MaxRedirects: 3,
			DialTimeout: o.DialTimeout, ReadTimeout: o.ReadTimeout, WriteTimeout: o.WriteTimeout,
			ContextTimeoutEnabled: true, PoolSize: handoverPool, PoolTimeout: o.PoolTimeout,
			MaintNotificationsConfig: o.MaintNotificationsConfig,
		})
	case s.master != "":
		return redis.NewFailoverClient(&redis.FailoverOptions{
			MasterName: s.master, SentinelAddrs: s.addrs,
			SentinelUsername: sentinel.name, SentinelPassword: sentinel.password,
			CredentialsProvider: o.CredentialsProvider, DB: o.DB, TLSConfig: s.login.tls,
			Protocol: o.Protocol, DisableIdentity: o.DisableIdentity, MaxRetries: o.MaxRetries,
			DialTimeout: o.DialTimeout, ReadTimeout: o.ReadTimeout, WriteTimeout: o.WriteTimeout,
			ContextTimeoutEnabled: true, PoolSize: handoverPool, PoolTimeout: o.PoolTimeout,
		})
	default:
		return redis.NewClient(o)
	}
}

// Close ends the connections.
func (s *RedisStore) Close() error {
	var errs []error
	for _, server := range s.servers {
		errs = append(errs, server.client.Close())
	}
	if err := errors.Join(errs...); err != nil {
		return failed("closing connections to Redis", err)
	}
	return nil
}

// at returns the client for what belongs to one name: that of the server with the highest score, so that most names stay
// where they are when a server is added.
func (s *RedisStore) at(name string) redis.UniversalClient {
	best, top := 0, uint64(0)
	for i := range s.servers {
		h := fnv.New64a()
		_, _ = h.Write([]byte(s.servers[i].name)) // of a hash; it does not fail
		_, _ = h.Write([]byte{0})
		_, _ = h.Write([]byte(name))
		score := h.Sum64()
		score ^= score >> 32 // the last bytes hardly reach the high bits
		score *= 0x9e3779b97f4a7c15
		if score > top {
			best, top = i, score
		}
	}
	return s.servers[best].client
}

func (s *RedisStore) record(client wire.ClientID) string { return s.prefix + "left:" + string(client) }

func (s *RedisStore) estate(owner wire.ServerID) []string {
	of := ":{" + string(owner) + "}"
	return []string{s.prefix + "life" + of, s.prefix + "claims" + of, s.prefix + "taken" + of}
}

func (s *RedisStore) index() string { return s.prefix + "owners" }

func failed(doing string, err error) error { return fmt.Errorf("cluster: %s: %w", doing, err) }

// putBatch bounds the arguments of one script.
const putBatch = 256

// keepRecord prolongs the life of a record and never shortens it.
const keepRecord = `
if redis.call('PTTL', KEYS[1]) < tonumber(ARGV[1]) then
	redis.call('PEXPIRE', KEYS[1], ARGV[1])
end
`

// KEYS: record. ARGV: ttl, most entries, then pairs of action ID and entry.
var putScript = redis.NewScript(`
local full = 0
local n = redis.call('HLEN', KEYS[1])
for i = 3, #ARGV, 2 do
	local old = redis.call('HGET', KEYS[1], ARGV[i])
	local new = ARGV[i + 1]
	if not old then
		if n >= tonumber(ARGV[2]) then
			full = 1
		else
			redis.call('HSET', KEYS[1], ARGV[i], new)
			n = n + 1
		end
	elseif string.sub(old, 1, 1) ~= 'o' or (string.sub(new, 1, 1) == 'o' and string.sub(old, 10) == string.sub(new, 10)) then
		redis.call('HSET', KEYS[1], ARGV[i], new)
	end
end
` + keepRecord + `
return full
`)

func (s *RedisStore) put(ctx context.Context, client wire.ClientID, entries []entry, ttl time.Duration) error {
	for batch := range slices.Chunk(entries, putBatch) {
		args := []any{ttl.Milliseconds(), maxRecordEntries}
		for i := range batch {
			args = append(args, string(batch[i].id), batch[i].encode())
		}
		full, err := putScript.Run(ctx, s.at(string(client)), []string{s.record(client)}, args...).Int()
		if err != nil {
			return failed("storing a record", err)
		}
		if full != 0 {
			return ErrRecordSize
		}
	}
	return nil
}

func (s *RedisStore) get(ctx context.Context, client wire.ClientID) (entries []entry, err error) {
	all, err := s.at(string(client)).HGetAll(ctx, s.record(client)).Result()
	if err != nil {
		return nil, failed("fetching a record", err)
	}
	for id, text := range all {
		if e, ok := decodeEntry(wire.ActionID(id), text); ok {
			entries = append(entries, e)
		}
	}
	return entries, nil
}

func (s *RedisStore) look(ctx context.Context, client wire.ClientID, id wire.ActionID) (entry, bool, error) {
	text, err := s.at(string(client)).HGet(ctx, s.record(client), string(id)).Result()
	if errors.Is(err, redis.Nil) {
		return entry{}, false, nil
	}
	if err != nil {
		return entry{}, false, failed("looking an action up", err)
	}
	e, ok := decodeEntry(id, text)
	return e, ok, nil
}

// KEYS: record. ARGV: ttl, action ID, entry, 1 to create.
var settleScript = redis.NewScript(`
local old = redis.call('HGET', KEYS[1], ARGV[2])
if old and string.sub(old, 1, 1) == 'o' then
	return old
end
if not old and ARGV[4] ~= '1' then
	return ''
end
redis.call('HSET', KEYS[1], ARGV[2], ARGV[3])
` + keepRecord + `
return ARGV[3]
`)

func (s *RedisStore) settle(ctx context.Context, client wire.ClientID, e entry, create bool, ttl time.Duration) (entry, bool, error) {
	may := "0"
	if create {
		may = "1"
	}
	text, err := settleScript.Run(ctx, s.at(string(client)), []string{s.record(client)}, ttl.Milliseconds(), string(e.id), e.encode(), may).Text()
	if err != nil {
		return entry{}, false, failed("settling an action in a record", err)
	}
	kept, ok := decodeEntry(e.id, text)
	return kept, ok, nil
}

func (s *RedisStore) forget(ctx context.Context, client wire.ClientID, ids []wire.ActionID) error {
	for batch := range slices.Chunk(ids, putBatch) {
		fields := make([]string, len(batch))
		for i, id := range batch {
			fields[i] = string(id)
		}
		if err := s.at(string(client)).HDel(ctx, s.record(client), fields...).Err(); err != nil {
			return failed("forgetting outcomes", err)
		}
	}
	return nil
}

// Each script about an estate has KEYS life, claims and taken, which is there from when another server takes it over until
// the owner knows, and ARGV holder, lease, ttl, then its own.
const holdLease = `
local holder = redis.call('GET', KEYS[1])
if holder and holder ~= ARGV[1] then
	return 0
end
`

const keepLease = `
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
redis.call('PEXPIRE', KEYS[2], ARGV[3])
`

// ARGV: 1 for the owner.
var renewScript = redis.NewScript(holdLease + keepLease + `
if holder then
	return 1
end
if ARGV[4] == '1' and redis.call('DEL', KEYS[3]) == 1 then
	return 3
end
return 2
`)

func (s *RedisStore) renew(ctx context.Context, owner, holder wire.ServerID, lease, ttl time.Duration) (leaseState, error) {
	own := "0"
	if owner == holder {
		own = "1"
	}
	n, err := renewScript.Run(ctx, s.at(string(owner)), s.estate(owner), string(holder), lease.Milliseconds(), ttl.Milliseconds(), own).Int()
	if err != nil {
		return leaseTaken, failed("renewing a lease", err)
	}
	return leaseState(n), nil
}

// ARGV: most claims, action ID, claim.
var claimScript = redis.NewScript(holdLease + `
if not holder and redis.call('EXISTS', KEYS[3]) == 1 then
	return 0
end
if redis.call('HEXISTS', KEYS[2], ARGV[5]) == 0 and redis.call('HLEN', KEYS[2]) >= tonumber(ARGV[4]) then
	return 2
end
redis.call('HSET', KEYS[2], ARGV[5], ARGV[6])
` + keepLease + `
return 1
`)

func (s *RedisStore) claim(ctx context.Context, owner, holder wire.ServerID, id wire.ActionID, claim []byte, lease, ttl time.Duration) error {
	c := s.at(string(owner))
	// Before the claim: an owner without claims is looked at in vain, a claim without its owner is never found.
	if err := c.SAdd(ctx, s.index(), string(owner)).Err(); err != nil {
		return failed("claiming an action", err)
	}
	n, err := claimScript.Run(ctx, c, s.estate(owner), string(holder), lease.Milliseconds(), ttl.Milliseconds(), maxClaims, string(id), claim).Int()
	switch {
	case err != nil:
		return failed("claiming an action", err)
	case n == 0:
		return ErrTaken
	case n == 2:
		return ErrClaimsFull
	}
	return nil
}

// ARGV: action ID.
var unclaimScript = redis.NewScript(holdLease + `
redis.call('HDEL', KEYS[2], ARGV[4])
return 1
`)

func (s *RedisStore) unclaim(ctx context.Context, owner, holder wire.ServerID, id wire.ActionID) error {
	n, err := unclaimScript.Run(ctx, s.at(string(owner)), s.estate(owner), string(holder), 0, 0, string(id)).Int()
	switch {
	case err != nil:
		return failed("taking a claim away", err)
	case n == 0:
		return ErrTaken
	}
	return nil
}

var takeScript = redis.NewScript(holdLease + `
if redis.call('EXISTS', KEYS[2]) == 0 then
	redis.call('DEL', KEYS[1])
	return 2
end
redis.call('SET', KEYS[3], ARGV[1], 'PX', ARGV[3])
` + keepLease + `
return 1
`)

func (s *RedisStore) take(ctx context.Context, owner, holder wire.ServerID, lease, ttl time.Duration) (bool, error) {
	c := s.at(string(owner))
	n, err := takeScript.Run(ctx, c, s.estate(owner), string(holder), lease.Milliseconds(), ttl.Milliseconds()).Int()
	if err == nil && n == 2 {
		err = c.SRem(ctx, s.index(), string(owner)).Err()
	}
	if err != nil {
		return false, failed("taking claims over", err)
	}
	return n == 1, nil
}

// claimsPage is about how many claims are read at once.
const claimsPage = 64

func (s *RedisStore) claims(ctx context.Context, owner wire.ServerID, each func(wire.ActionID, []byte) bool) error {
	var cursor uint64
	for {
		page, next, err := s.at(string(owner)).HScan(ctx, s.estate(owner)[1], cursor, "", claimsPage).Result()
		if err != nil {
			return failed("reading claims", err)
		}
		for pair := range slices.Chunk(page, 2) {
			if len(pair) == 2 && !each(wire.ActionID(pair[0]), []byte(pair[1])) {
				return nil
			}
		}
		if cursor = next; cursor == 0 {
			return nil
		}
	}
}

func (s *RedisStore) claimed(ctx context.Context, owner wire.ServerID, id wire.ActionID) (bool, error) {
	ok, err := s.at(string(owner)).HExists(ctx, s.estate(owner)[1], string(id)).Result()
	if err != nil {
		return false, failed("looking for a claim", err)
	}
	return ok, nil
}

func (s *RedisStore) holder(ctx context.Context, owner wire.ServerID) (wire.ServerID, error) {
	text, err := s.at(string(owner)).Get(ctx, s.estate(owner)[0]).Result()
	if err != nil && !errors.Is(err, redis.Nil) {
		return "", failed("asking for a lease", err)
	}
	return wire.ServerID(text), nil
}

func (s *RedisStore) owners(ctx context.Context) (all []wire.ServerID, err error) {
	for _, c := range s.servers {
		names, err := c.client.SMembers(ctx, s.index()).Result()
		if err != nil {
			return nil, failed("listing estates", err)
		}
		for _, name := range names {
			all = append(all, wire.ServerID(name))
		}
	}
	return all, nil
}
