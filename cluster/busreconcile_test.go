package cluster

import (
	"slices"
	"testing"
	"time"

	"logux-proxy/wire"
)

// "A reconcile loop finds orphaned subscriptions": whatever the reason, in the end Redis has what is joined, and no more.
func TestBusReconciles(t *testing.T) {
	t.Parallel()
	const heartbeat = 500 * time.Millisecond
	for name, x := range map[string]struct {
		// spoil makes Redis and the bus disagree; "ch:x" is joined and subscribed.
		spoil func(t *testing.T, b *Bus, conn *subscriber, sub *subscription)
		// The connection is made anew.
		reconnects bool
	}{
		"Redis has what nobody asked for": {spoil: func(t *testing.T, _ *Bus, conn *subscriber, _ *subscription) {
			if err := conn.pubsub.Subscribe(t.Context(), "logux:ch:orphan"); err != nil {
				t.Fatal(err)
			}
		}},
		"a topic waits for a subscription that is not under way": {spoil: func(_ *testing.T, _ *Bus, conn *subscriber, sub *subscription) {
			sub.state = absent
			conn.present.Add(-1)
		}},
		"a topic that nobody needs is not let go": {spoil: func(_ *testing.T, b *Bus, conn *subscriber, _ *subscription) {
			other := &subscription{state: held}
			b.topics.stripes[partitionOf("ch:x")].topics[otherTopic] = other
			b.stats.topics.Add(1)
			conn.present.Add(1)
		}},
		"Redis has lost a subscription": {spoil: func(_ *testing.T, b *Bus, conn *subscriber, _ *subscription) {
			b.topics.stripes[partitionOf("ch:x")].topics[otherTopic] = &subscription{state: held, joins: 1}
			b.stats.topics.Add(1)
			b.stats.joins.Add(1)
			conn.present.Add(1)
		}, reconnects: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := startRedis(t)
			s := startServer(t, "redis://"+r.addr, nil, "server:a", func(c *BusConfig) { c.Heartbeat = heartbeat })
			waitState(t, BusOK, s)
			s.join("x")
			b := s.bus
			conn := b.layout.Load().nodes[0].current.Load()
			stripe := &b.topics.stripes[partitionOf("ch:x")]
			stripe.mu.Lock()
			x.spoil(t, b, conn, stripe.topics["ch:x"])
			stripe.mu.Unlock()
			eventually(t, "it is mended", func() bool {
				conn.recount() // both would take their time
				for range partitions {
					b.reconcile()
				}
				var want []string
				stripe.mu.Lock()
				for topic, sub := range stripe.topics {
					if sub.joins > 0 {
						want = append(want, "logux:"+string(topic))
					}
				}
				clean := len(want) == len(stripe.topics)
				stripe.mu.Unlock()
				slices.Sort(want)
				return clean && b.stats.reconciled.Load() > 0 && slices.Equal(subscribed(r), want)
			})
			waitState(t, BusOK, s)
			if n := b.Stats().Reconnects > 0; n != x.reconnects {
				t.Errorf("the connection was made anew: %v", n)
			}
		})
	}
}

// otherTopic is in the same partition as "ch:x".
var otherTopic = func() wire.Topic {
	for i := 0; ; i++ {
		if topic := wire.ChannelTopic(string(rune('a' + i))); topic != "ch:x" && partitionOf(topic) == partitionOf("ch:x") {
			return topic
		}
	}
}()
