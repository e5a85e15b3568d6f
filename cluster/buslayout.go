package cluster

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/logging"
	"go.uber.org/zap"
)

// A layout says which Redis server serves which partition. It is immutable.
type layout struct {
	nodes []*redisNode
	owner [partitions]*redisNode // nil as long as a Cluster has not been asked
}

// failing reports whether something waits to be published and Redis does not take it.
func (l *layout) failing(now time.Time, patience time.Duration) bool {
	if len(l.nodes) == 0 {
		return true
	}
	return slices.ContainsFunc(l.nodes, func(n *redisNode) bool { return n.publisher.failing(now, patience) })
}

// quietRedis keeps go-redis from writing to stderr: every error comes back to us.
var quietRedis = sync.OnceFunc(logging.Disable)

// firstLayout is known without asking, but for a Cluster.
func (b *Bus) firstLayout() *layout {
	r := b.cfg.Redis
	l := &layout{}
	if r.cluster {
		return l
	}
	for i := range r.servers {
		l.nodes = append(l.nodes, newRedisNode(b, r.servers[i].name, b.heartbeatName(0), b.dialer(&r.servers[i])))
	}
	names := r.names()
	for p := range l.owner {
		l.owner[p] = l.nodes[rendezvous(uint8(p), names)]
	}
	return l
}

// dialer returns how to connect to a server: a Sentinel is asked anew each time.
func (b *Bus) dialer(s *redisServer) func(context.Context) (*redis.Options, error) {
	if s.master == "" {
		return func(context.Context) (*redis.Options, error) {
			return options(&s.login, s.addrs[0], b.cfg.silence()), nil
		}
	}
	return func(ctx context.Context) (*redis.Options, error) {
		addr, err := s.askSentinels(ctx, b.cfg.silence())
		if err != nil {
			return nil, err
		}
		return options(&s.login, addr, b.cfg.silence()), nil
	}
}

// askSentinels returns the address of the master, by the first Sentinel that knows it.
func (s *redisServer) askSentinels(ctx context.Context, timeout time.Duration) (string, error) {
	var errs []error
	for _, addr := range s.addrs {
		client := redis.NewSentinelClient(options(&s.sentinel, addr, timeout))
		master, err := client.GetMasterAddrByName(ctx, s.master).Result()
		_ = client.Close()
		switch {
		case err == nil && len(master) == 2:
			return net.JoinHostPort(master[0], master[1]), nil
		case errors.Is(err, redis.Nil):
			err = fmt.Errorf("it knows no master %q", s.master)
		}
		errs = append(errs, fmt.Errorf("asking the Sentinel %s: %w", addr, err))
	}
	return "", errors.Join(errs...)
}

// direct starts what speaks to Redis and keeps the layout of a Cluster true. It returns when all of that has ended.
func (b *Bus) direct(ctx context.Context) {
	var running sync.WaitGroup
	defer running.Wait()
	start := func(n *redisNode) {
		ctx, cancel := context.WithCancel(ctx)
		n.cancel = cancel
		running.Go(func() { n.publisher.run(ctx) })
		running.Go(func() { n.subscribe(ctx) })
	}
	if !b.cfg.Redis.cluster {
		for _, n := range b.layout.Load().nodes {
			start(n)
		}
		<-ctx.Done()
		return
	}
	timer := time.NewTimer(0)
	defer timer.Stop()
	var hint *redisNode
	for {
		select {
		case <-ctx.Done():
			return
		case hint = <-b.moved:
			// Servers of a Cluster that just changed answer differently for a moment.
			timer.Reset(b.cfg.Heartbeat / 10)
			continue
		case <-timer.C:
		}
		next := 30 * b.cfg.Heartbeat
		if err := b.ask(ctx, hint, start); err != nil {
			if ctx.Err() == nil {
				b.log.Warn("Redis Cluster does not say which server has which slots", zap.Error(err))
			}
			next = b.cfg.Heartbeat
		} else if b.topics.anyMoving() {
			next = b.cfg.Heartbeat / 4
		}
		timer.Reset(next)
	}
}

// lookAgain says that a Cluster seems to have changed, as n knows.
func (b *Bus) lookAgain(n *redisNode) {
	select {
	case b.moved <- n:
	default:
	}
}

// ask fetches the slots of a Cluster and makes them the layout.
func (b *Bus) ask(ctx context.Context, hint *redisNode, start func(*redisNode)) error {
	server := &b.cfg.Redis.servers[0]
	var addrs []string
	if hint != nil {
		addrs = append(addrs, hint.name)
	}
	for _, n := range b.layout.Load().nodes {
		addrs = append(addrs, n.name)
	}
	addrs = append(addrs, server.addrs...)
	var errs []error
	for i, addr := range addrs {
		if slices.Contains(addrs[:i], addr) {
			continue
		}
		ranges, err := askSlotsAt(ctx, server, addr, b.cfg.Heartbeat)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		b.arrange(ownersOf(ranges, addr), start)
		return nil
	}
	return errors.Join(errs...)
}

// ownersOf returns the address of the master that serves each partition, "" for one that nobody serves.
func ownersOf(ranges []redis.ClusterSlot, asked string) (owners [partitions]string) {
	host, _, _ := net.SplitHostPort(asked)
	for p, tag := range hashTags() {
		slot := slotOf(tag)
		for _, r := range ranges {
			if slot < r.Start || slot > r.End || len(r.Nodes) == 0 {
				continue
			}
			owners[p] = r.Nodes[0].Addr
			if strings.HasPrefix(owners[p], ":") { // the server that was asked does not know its own address
				owners[p] = net.JoinHostPort(host, owners[p][1:])
			}
		}
	}
	return owners
}

// arrange makes a layout of owners, and moves to it.
func (b *Bus) arrange(owners [partitions]string, start func(*redisNode)) {
	old := b.layout.Load()
	l := &layout{}
	known := make(map[string]*redisNode)
	for _, n := range old.nodes {
		known[n.name] = n
	}
	var added []*redisNode
	for p, addr := range owners {
		n := known[addr]
		if addr == "" { // a failover is under way
			n = old.owner[p]
		}
		if n == nil && addr != "" {
			server := redisServer{addrs: []string{addr}, login: b.cfg.Redis.servers[0].login}
			n = newRedisNode(b, addr, b.heartbeatName(uint8(p)), b.dialer(&server))
			known[addr] = n
			added = append(added, n)
		}
		if l.owner[p] = n; n != nil && !slices.Contains(l.nodes, n) {
			l.nodes = append(l.nodes, n)
		}
	}
	if len(l.nodes) == 0 {
		return
	}
	for p, n := range l.owner {
		if n == nil { // somebody has to know that there is something to publish
			l.owner[p] = l.nodes[0]
		}
	}
	var moves []uint8
	for p := range l.owner {
		if l.owner[p] != old.owner[p] || b.topics.stays(uint8(p)) {
			moves = append(moves, uint8(p))
		}
	}
	if len(moves) == 0 {
		return
	}
	b.log.Info("Redis Cluster has another layout", zap.Int("masters", len(l.nodes)), zap.Int("partitions", len(moves)))
	b.move(old, l, moves)
	for _, n := range added {
		start(n)
	}
	for _, n := range old.nodes {
		if !slices.Contains(l.nodes, n) {
			n.cancel()
		}
	}
}

// move makes l the layout. What moves is subscribed anew, and what old owners may not have published is
// published again.
func (b *Bus) move(old, l *layout, moves []uint8) {
	var concerned []*redisNode
	for _, n := range l.nodes {
		if slices.ContainsFunc(moves, func(p uint8) bool { return l.owner[p] == n }) {
			n.partitionLeft(1) // it does not settle before its topics are known
			n.unsettle()
			concerned = append(concerned, n)
		}
	}
	b.moving.Lock()
	b.layout.Store(l)
	from := b.ring.head()
	for _, n := range old.nodes {
		from = min(from, n.publisher.interrupt())
	}
	if len(old.nodes) == 0 {
		from = 0
	}
	for _, n := range l.nodes {
		n.publisher.rewind(from)
	}
	b.moving.Unlock()
	for _, n := range l.nodes {
		n.listenAt(b.heartbeatName(uint8(slices.Index(l.owner[:], n))))
	}
	for _, p := range moves {
		b.topics.move(p, old.owner[p], l.owner[p])
	}
	for _, n := range concerned {
		n.partitionLeft(-1)
	}
	for _, n := range l.nodes {
		n.trySettle()
	}
}

// Names of channels. The rest of a name after the prefix (and on a Cluster the hash tag) is a topic, or heartbeatTopic.

const heartbeatTopic = "hb"

func (b *Bus) channelName(p uint8, topic string) string {
	if b.cfg.Redis.cluster {
		return b.cfg.Redis.Prefix + "{" + hashTags()[p] + "}" + topic
	}
	return b.cfg.Redis.Prefix + topic
}

func (b *Bus) heartbeatName(p uint8) string { return b.channelName(p, heartbeatTopic) }

// topicOf is the inverse of channelName.
func (b *Bus) topicOf(channel string) (topic string, ok bool) {
	topic, ok = strings.CutPrefix(channel, b.cfg.Redis.Prefix)
	if ok && b.cfg.Redis.cluster {
		_, topic, ok = strings.Cut(topic, "}")
	}
	return topic, ok
}
