package wire

import (
	"slices"
	"testing"
)

func TestTopics(t *testing.T) {
	for _, test := range []struct {
		targets Targets
		want    []Topic
	}{
		{Targets{}, nil},
		{Targets{ExcludeClients: []ClientID{"38:a"}}, nil},
		{Targets{Channels: []string{"b", "a", "b", ""}}, []Topic{"ch:", "ch:a", "ch:b"}},
		{Targets{Users: []UserID{"38", "38"}}, []Topic{"u:38"}},
		// A client is reached by its user's topic, and so is a node.
		{Targets{Users: []UserID{"38"}, Clients: []ClientID{"38:a", "38:b"}, Nodes: []NodeID{"38:a:1", "39:a:1"}}, []Topic{"u:38", "u:39"}},
		// One without a user part has a topic of its own.
		{Targets{Clients: []ClientID{"uuid"}, Nodes: []NodeID{"uuid", ":a:b"}}, []Topic{"n::a", "n:uuid"}},
		// Names in the three kinds do not meet.
		{Targets{Channels: []string{"u:38"}, Users: []UserID{"ch:a"}}, []Topic{"ch:u:38", "u:ch:a"}},
	} {
		e := Envelope{Targets: test.targets}
		if got := e.Topics(); !slices.Equal(got, test.want) {
			t.Errorf("%+v: topics %q, want %q", test.targets, got, test.want)
		}
	}
}

// The server that holds a connection listens to the topic on which its targets publish.
func TestTopicOfClient(t *testing.T) {
	for _, node := range []NodeID{"38:a:1", "38:a", "uuid", ":a:b", "false:x:y"} {
		want := NodeTopic(node)
		targets := []Targets{{Nodes: []NodeID{node}}, {Clients: []ClientID{node.Client()}}}
		if user := node.User(); user != "" {
			targets = append(targets, Targets{Users: []UserID{user}})
		}
		for _, target := range targets {
			e := Envelope{Targets: target}
			if got := e.Topics(); len(got) != 1 || got[0] != want {
				t.Errorf("%q: published on %q, listened to %q", node, got, want)
			}
		}
	}
}

func TestTargetsEmpty(t *testing.T) {
	var none *Targets
	if !none.Empty() || !(&Targets{ExcludeClients: []ClientID{"a"}}).Empty() {
		t.Error("nobody is named, but not empty")
	}
	for _, some := range []Targets{{Channels: []string{""}}, {Users: []UserID{"a"}}, {Clients: []ClientID{"a"}}, {Nodes: []NodeID{"a"}}} {
		if some.Empty() {
			t.Errorf("%+v is empty", some)
		}
	}
}
