//go:build linux

package main

import (
	"maps"
	"testing"
)

// Every scenario of a cluster runs on real nodes and a real Redis, and finds nothing to complain about: nothing lost, nothing doubled, no envelope for a
// node without a receiver, no command of Redis for what is between a client and the back-end.
func TestScenariosOfACluster(t *testing.T) {
	p, err := build(t.Context(), t.TempDir(), "logux-proxy", "logux-proxy/cmd/node")
	if err != nil {
		t.Fatal(err)
	}
	want := map[string][]string{
		"cluster-publish":   {"1_nodes_publish_rate", "4_nodes_publish_rate", "4_to_2_nodes_publish_rate"},
		"cluster-latency":   {"same_node_p50_ms", "other_node_p99_ms", "other_to_same_p50"},
		"cluster-redis":     {"channel_connect_publish", "channel_action_publish", "client_elsewhere_action_publish"},
		"cluster-interest":  {"2_nodes_interested_cpu_us_per_publish", "4_nodes_interested_received_per_publish"},
		"cluster-anonymous": {"action_publish", "interested_received_per_publish"},
	}
	for _, s := range scenarios {
		if !s.cluster {
			continue
		}
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			o, err := parseOptions([]string{"-clients", "40", "-time", "1s", "-limit", "60s", "-scenario", s.name})
			if err != nil {
				t.Fatal(err)
			}
			b := &bench{ctx: t.Context(), o: o}
			if err := b.measure(s, p); err != nil {
				t.Fatal(err)
			}
			for _, fault := range b.results[0].faults {
				t.Error(fault)
			}
			for _, name := range want[s.name] {
				if v, _ := b.results[0].value(name); v <= 0 {
					t.Errorf("%s is %v", name, v)
				}
			}
			if v, _ := b.results[0].value("client_here_action_publish"); v > 0.05 {
				t.Errorf("an action for a client here is published %v times", v)
			}
			if len(want[s.name]) == 0 {
				t.Error("nobody looks at its figures")
			}
		})
	}
}

func TestParseCommands(t *testing.T) {
	got := parseCommands("# Commandstats\r\ncmdstat_publish:calls=12,usec=34,usec_per_call=2.83,rejected_calls=0,failed_calls=0\r\n" +
		"cmdstat_info:calls=3,usec=1\r\ncmdstat_script|load:calls=1,usec=9\r\n")
	if want := (commands{"publish": 12, "script|load": 1}); !maps.Equal(got, want) {
		t.Errorf("the commands are %v, want %v", got, want)
	}
}

// What clients on the two sides of a bus waited is told apart.
func TestTallyOfTwoSides(t *testing.T) {
	got := newTally(1)
	got.channels[0].subscribers = 2
	near, far := place{}, place{side: 1}
	m := got.publish(0, 100)
	got.deliver(0, &near, m, 150)
	got.deliver(0, &far, m, 1100)
	if got.sides[0].N != 1 || got.sides[0].Max != 50 || got.sides[1].N != 1 || got.sides[1].Max != 1000 || got.latency.N != 2 {
		t.Errorf("%d and %d deliveries, %d and %d ns at most", got.sides[0].N, got.sides[1].N, got.sides[0].Max, got.sides[1].Max)
	}
}
