package cluster

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
)

// ErrRefused is why waiting will not help: Redis refuses the password or a command, or has the wrong certificate.
var ErrRefused = errors.New("the settings of Redis are wrong")

// Check tries once whether all that the bus needs is allowed: to publish, to subscribe and to count subscribers on channels with the prefix. An error
// that is ErrRefused will not go away by itself; any other may, since servers can be away for a while. It takes as
// long as timeout at most.
func (r *Redis) Check(ctx context.Context, timeout time.Duration) error {
	quietRedis()
	return r.checkEach(func(i int) error { return r.check(ctx, &r.servers[i], timeout) })
}

// CheckHandovers is the same for all that a RedisStore needs: its commands, on keys with the prefix.
func (r *Redis) CheckHandovers(ctx context.Context, timeout time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	s := r.HandoverStore()
	return errors.Join(r.checkEach(func(i int) error {
		keys := []string{r.Prefix + "check"}
		err := tryScript.Eval(ctx, s.servers[i].client, keys).Err()
		if err == nil {
			err = tryScript.EvalSha(ctx, s.servers[i].client, keys).Err()
		}
		if err != nil {
			return fmt.Errorf("reading and writing keys: %w", err)
		}
		return nil
	}), s.Close())
}

// tryScript uses each command of a RedisStore once. A script may do no more than its user.
var tryScript = redis.NewScript(`
local k = KEYS[1]
for _, command in ipairs({
	{'DEL', k}, {'HSET', k, 'a', '1'}, {'HGET', k, 'a'}, {'HGETALL', k}, {'HEXISTS', k, 'a'}, {'HLEN', k}, {'HSCAN', k, 0},
	{'PEXPIRE', k, 1000}, {'PTTL', k}, {'HDEL', k, 'a'},
	{'SADD', k, 'a'}, {'SMEMBERS', k}, {'SREM', k, 'a'},
	{'SET', k, 'a', 'PX', 1000}, {'GET', k}, {'EXISTS', k}, {'DEL', k},
}) do
	redis.call(unpack(command))
end
return 1
`)

// checkEach tries all servers side by side.
func (r *Redis) checkEach(try func(i int) error) error {
	errs := make([]error, len(r.servers))
	var running sync.WaitGroup
	for i := range r.servers {
		running.Go(func() {
			err := try(i)
			if refused(err) {
				err = fmt.Errorf("%w: %w", ErrRefused, err)
			}
			if err != nil {
				errs[i] = &RedisFault{Server: r.servers[i].name, Err: err}
			}
		})
	}
	running.Wait()
	return errors.Join(errs...)
}

// A RedisFault is why a Redis cannot be used. Check and CheckHandovers return one for each server that has it.
type RedisFault struct {
	Server string // without the password
	Err    error
}

func (f *RedisFault) Error() string {
	return fmt.Sprintf("cluster: trying Redis %s: %v", f.Server, f.Err)
}

func (f *RedisFault) Unwrap() error { return f.Err }

// Answer is the word of the server, if it was one that ended the try.
func (f *RedisFault) Answer() string {
	if answer := redis.Error(nil); errors.As(f.Err, &answer) {
		return answer.Error()
	}
	return ""
}

// NoRedis reports whether what answered speaks another protocol.
func (f *RedisFault) NoRedis() bool { return strings.Contains(f.Err.Error(), "redis: can't parse") }

// RedisFaults are the faults in an error of Check or CheckHandovers.
func RedisFaults(err error) (faults []*RedisFault) {
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		for _, e := range joined.Unwrap() {
			faults = append(faults, RedisFaults(e)...)
		}
		return faults
	}
	if fault := (*RedisFault)(nil); errors.As(err, &fault) {
		faults = append(faults, fault)
	}
	return faults
}

// refused reports whether err will be the same the next time: the word of a server about what it is asked, and not about
// how it is, or something about its certificate.
func refused(err error) bool {
	if answer := redis.Error(nil); errors.As(err, &answer) {
		text := answer.Error()
		switch code, _, _ := strings.Cut(text, " "); code {
		case "NOPERM", "NOAUTH", "WRONGPASS", "DENIED":
			return true
		case "ERR":
			return !strings.Contains(text, "max number of clients")
		}
		return false
	}
	var certificate *tls.CertificateVerificationError
	var authority x509.UnknownAuthorityError
	var name x509.HostnameError
	var plain tls.RecordHeaderError
	return errors.As(err, &certificate) || errors.As(err, &authority) || errors.As(err, &name) || errors.As(err, &plain)
}

func (r *Redis) check(ctx context.Context, s *redisServer, timeout time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	addr, channel := s.addrs[0], r.Prefix+"check"
	publish, subscribe := "publish", (*redis.Client).Subscribe
	switch {
	case r.cluster:
		publish, subscribe = "spublish", (*redis.Client).SSubscribe
		slots, err := s.askSlots(ctx, timeout)
		if err != nil {
			return err
		}
		owners := ownersOf(slots, addr)
		addr, channel = owners[0], r.Prefix+"{"+hashTags()[0]+"}check"
	case s.master != "":
		var err error
		if addr, err = s.askSentinels(ctx, timeout); err != nil {
			return err
		}
	}
	client := redis.NewClient(options(&s.login, addr, timeout))
	defer func() { _ = client.Close() }()
	if err := client.Do(ctx, publish, channel, "").Err(); err != nil {
		return fmt.Errorf("publishing: %w", err)
	}
	numsub := "numsub"
	if r.cluster {
		numsub = "shardnumsub"
	}
	// Without the count the node would work, but a client's first action would wait for seconds each time.
	if err := client.Do(ctx, "pubsub", numsub, channel).Err(); err != nil {
		return fmt.Errorf("counting subscribers: %w", err)
	}
	pubsub := subscribe(client, ctx, channel)
	defer func() { _ = pubsub.Close() }()
	if _, err := pubsub.ReceiveTimeout(ctx, timeout); err != nil {
		return fmt.Errorf("subscribing: %w", err)
	}
	return nil
}

// askSlots asks the nodes of a Cluster in turn.
func (s *redisServer) askSlots(ctx context.Context, timeout time.Duration) ([]redis.ClusterSlot, error) {
	var errs []error
	for _, addr := range s.addrs {
		slots, err := askSlotsAt(ctx, s, addr, timeout)
		if err == nil {
			return slots, nil
		}
		errs = append(errs, err)
	}
	return nil, errors.Join(errs...)
}

// askSlotsAt asks one node.
func askSlotsAt(ctx context.Context, s *redisServer, addr string, timeout time.Duration) ([]redis.ClusterSlot, error) {
	client := redis.NewClient(options(&s.login, addr, timeout))
	defer func() { _ = client.Close() }()
	slots, err := client.ClusterSlots(ctx).Result() //nolint:staticcheck // go-redis itself asks for the same
	if err == nil && len(slots) == 0 {
		err = errors.New("no slot is assigned")
	}
	if err != nil {
		return nil, fmt.Errorf("asking %s: %w", addr, err)
	}
	return slots, nil
}
