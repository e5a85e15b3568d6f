package cluster

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"
)

// ErrRefused is why waiting will not help: Redis refuses the password or a command, or has the wrong certificate.
var ErrRefused = errors.New("the settings of Redis are wrong")

// Check tries once whether all that the bus needs is allowed: to publish and to subscribe on channels with the prefix. An error
// that is ErrRefused will not go away by itself; any other may, since servers can be away for a while. It takes as
// long as timeout at most for each server.
func (r *Redis) Check(ctx context.Context, timeout time.Duration) error {
	quietRedis()
	var errs []error
	for i := range r.servers {
		if err := r.check(ctx, &r.servers[i], timeout); err != nil {
			if refused(err) {
				err = fmt.Errorf("%w: %w", ErrRefused, err)
			}
			errs = append(errs, fmt.Errorf("cluster: trying Redis %s: %w", r.servers[i].name, err))
		}
	}
	return errors.Join(errs...)
}

// refused reports whether err is the word of a server, or about its certificate.
func refused(err error) bool {
	var answer redis.Error
	var certificate *tls.CertificateVerificationError
	var authority x509.UnknownAuthorityError
	var name x509.HostnameError
	return errors.As(err, &answer) || errors.As(err, &certificate) || errors.As(err, &authority) || errors.As(err, &name)
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
