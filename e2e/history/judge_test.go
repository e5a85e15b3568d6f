package history

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

// A story is a made-up history, told a millisecond a step.
type story struct {
	events  []Event
	clients map[string]*teller
	serial  int
}

// A teller is a client of a story.
type teller struct {
	id   string
	conn int
	node string
}

func newStory() *story { return &story{clients: make(map[string]*teller)} }

func (s *story) add(e Event) {
	e.At = int64(len(s.events)+1) * 1000
	s.events = append(s.events, e)
}

func (s *story) connect(client, node string) {
	c := s.clients[client]
	if c == nil {
		c = &teller{id: client}
		s.clients[client] = c
	}
	c.conn++
	c.node = node
	s.add(Event{Kind: Connected, Client: client, Conn: c.conn, Node: node})
}

func (s *story) leave(client string) {
	s.add(Event{Kind: Disconnected, Client: client, Conn: s.clients[client].conn})
}

func (s *story) nextID(client string) string {
	s.serial++
	return fmt.Sprintf("%d %s:t 0", s.serial, client)
}

func (s *story) send(client, id, kind, channel string) {
	c := s.clients[client]
	e := Event{Kind: Sent, Client: client, Conn: c.conn, ID: id, Type: kind, Channel: channel}
	if kind == "" {
		e.Mark = "mark of " + id
	}
	s.add(e)
}

func (s *story) ask(node, id string) { s.add(Event{Kind: Asked, Node: node, ID: id}) }

func (s *story) approve(node, id string, t *Targets) {
	s.add(Event{Kind: Approved, Node: node, ID: id, Targets: t})
}

func (s *story) finish(client, id string) {
	s.add(Event{Kind: Answered, ID: id, Result: Processed})
	s.tell(client, id, "outcome of "+id)
}

func (s *story) tell(client, id, by string) {
	c := s.clients[client]
	s.add(Event{Kind: Synced, Client: client, Conn: c.conn, ID: id})
	s.add(Event{Kind: Outcome, Client: client, Conn: c.conn, ID: id, By: by, Result: Processed})
}

func (s *story) receive(client, id string) {
	s.add(Event{Kind: Received, Client: client, Conn: s.clients[client].conn, ID: id, Mark: "mark of " + id})
}

func (s *story) subscribe(client, channel string) {
	id := s.nextID(client)
	s.send(client, id, Subscribe, channel)
	s.ask(s.clients[client].node, id)
	s.approve(s.clients[client].node, id, nil)
	s.finish(client, id)
}

func (s *story) unsubscribe(client, channel string) {
	id := s.nextID(client)
	s.send(client, id, Unsubscribe, channel)
	s.tell(client, id, "outcome of "+id)
}

// publish has an action of client go to targets, and to receivers.
func (s *story) publish(client string, t Targets, receivers ...string) string {
	id := s.nextID(client)
	node := s.clients[client].node
	s.send(client, id, "", "")
	s.ask(node, id)
	s.approve(node, id, &t)
	for _, r := range receivers {
		s.receive(r, id)
	}
	s.finish(client, id)
	return id
}

func toChannel(name string) Targets { return Targets{Channels: []string{name}} }

// clean is a history in which all rules hold and everything happens that the rules speak of.
func clean() *story {
	s := newStory()
	s.connect("1:a", "one")
	s.connect("2:b", "two")
	s.connect("3:c", "three")
	s.subscribe("2:b", "news")
	s.subscribe("1:a", "news")                             // its own actions do not come to it
	s.publish("1:a", toChannel("news"), "2:b")             // 3
	s.publish("1:a", toChannel("news"), "2:b")             // 4
	s.publish("2:b", Targets{Users: []string{"3"}}, "3:c") // 5
	s.publish("2:b", Targets{Clients: []string{"1:a", "3:c"}, Nodes: []string{"3:c:t"}}, "1:a", "3:c")
	s.publish("1:a", Targets{Channels: []string{"news"}, Exclude: []string{"2:b"}}) // 7
	// Sent to the channel while the back-end thinks about a subscription.
	id := s.nextID("3:c") // 8
	s.send("3:c", id, Subscribe, "news")
	s.ask("three", id)
	early := s.publish("1:a", toChannel("news"), "2:b") // 9
	s.approve("three", id, nil)
	s.receive("3:c", early)
	s.finish("3:c", id)
	// By the control API.
	s.add(Event{Kind: Posting, Node: "one", ID: "1 server:x 0", Targets: &Targets{Channels: []string{"news"}}})
	s.add(Event{Kind: Posted, Node: "one", ID: "1 server:x 0"})
	for _, client := range []string{"1:a", "2:b", "3:c"} {
		s.receive(client, "1 server:x 0")
	}
	s.unsubscribe("2:b", "news")               // 10
	s.publish("1:a", toChannel("news"), "3:c") // 11
	// A connection breaks with an action under way, whose outcome the next one gets.
	id = s.nextID("1:a") // 12
	s.send("1:a", id, "", "")
	s.ask("one", id)
	s.leave("1:a")
	t := toChannel("news")
	s.approve("one", id, &t)
	s.receive("3:c", id)
	s.add(Event{Kind: Answered, ID: id, Result: Processed})
	s.connect("1:a", "two")
	s.send("1:a", id, "", "")
	s.tell("1:a", id, "outcome of "+id)
	s.leave("1:a")
	s.connect("1:a", "three")
	s.tell("1:a", id, "outcome of "+id)
	// A server dies with an action, and what it sent to others.
	id = s.nextID("3:c") // 13
	s.send("3:c", id, "", "")
	s.ask("three", id)
	s.add(Event{Kind: Killed, Node: "three"})
	s.leave("3:c")
	s.leave("1:a")
	s.connect("1:a", "one")
	s.connect("3:c", "two")
	s.subscribe("1:a", "news") // 14
	s.send("3:c", id, "", "")
	s.ask("two", id)
	s.approve("two", id, &t)
	s.receive("1:a", id)
	s.finish("3:c", id)
	// A receiver leaves before it is reached, and comes back.
	s.leave("1:a")
	s.connect("1:a", "two")
	s.subscribe("1:a", "news") // 15
	id = s.nextID("3:c")       // 16
	s.send("3:c", id, "", "")
	s.ask("two", id)
	s.approve("two", id, &t)
	s.leave("1:a")
	s.finish("3:c", id)
	s.connect("1:a", "two")
	s.subscribe("1:a", "news") // 17
	s.publish("3:c", toChannel("news"), "1:a")
	return s
}

func TestCleanHistoryPasses(t *testing.T) {
	v := Judge(clean().events, Options{AckLimit: time.Hour})
	if !v.OK() {
		t.Errorf("%v", v)
	}
	if f := v.Figures; f.Actions != 18 || f.Expected != 15 || f.Excused != 1 || f.Received != 14 || f.CommandsAgain != 1 || f.RepeatedOutcomes != 1 {
		t.Errorf("figures: %+v", f)
	}
}

// find is the index of the nth event of a kind about an action, from 1.
func find(t *testing.T, events []Event, kind Kind, id string, nth int) int {
	t.Helper()
	for i, e := range events {
		if e.Kind == kind && strings.HasPrefix(e.ID, id+" ") {
			if nth--; nth == 0 {
				return i
			}
		}
	}
	t.Fatalf("no %s of %s", kind, id)
	return 0
}

// Each way to break a rule, and the rule that must be found broken.
func TestBrokenHistoriesAreFound(t *testing.T) {
	drop := func(kind Kind, id string, nth int) func(*testing.T, []Event) []Event {
		return func(t *testing.T, events []Event) []Event {
			i := find(t, events, kind, id, nth)
			return slices.Delete(events, i, i+1)
		}
	}
	double := func(kind Kind, id string, nth int) func(*testing.T, []Event) []Event {
		return func(t *testing.T, events []Event) []Event {
			i := find(t, events, kind, id, nth)
			return slices.Insert(events, i+1, events[i])
		}
	}
	change := func(kind Kind, id string, nth int, by func(*Event)) func(*testing.T, []Event) []Event {
		return func(t *testing.T, events []Event) []Event {
			by(&events[find(t, events, kind, id, nth)])
			return events
		}
	}
	// later moves an event behind another one.
	later := func(kind Kind, id string, nth int, behind Kind, behindID string, behindNth int) func(*testing.T, []Event) []Event {
		return func(t *testing.T, events []Event) []Event {
			i, k := find(t, events, kind, id, nth), find(t, events, behind, behindID, behindNth)
			e := events[i]
			e.At = events[k].At
			copy(events[i:k], events[i+1:k+1])
			events[k] = e
			return events
		}
	}
	append1 := func(e Event) func(*testing.T, []Event) []Event {
		return func(_ *testing.T, events []Event) []Event {
			e.At = events[len(events)-1].At
			return append(events, e)
		}
	}
	for name, test := range map[string]struct {
		rule  string
		spoil func(*testing.T, []Event) []Event
	}{
		"never acknowledged":                       {"C1", drop(Synced, "3", 1)},
		"no outcome":                               {"C1", drop(Outcome, "3", 1)},
		"outcome twice on one connection":          {"C1", double(Outcome, "3", 1)},
		"two outcomes":                             {"C1", change(Outcome, "12", 2, func(e *Event) { e.By = "another" })},
		"undone after it was processed":            {"C1", change(Outcome, "12", 2, func(e *Event) { e.Result = "error" })},
		"undone though it was processed":           {"C1", change(Outcome, "3", 1, func(e *Event) { e.Result = "error" })},
		"processed though nobody said so":          {"C1", drop(Answered, "3", 1)},
		"acknowledged too early":                   {"C1", later(Answered, "3", 1, Outcome, "3", 1)},
		"asked twice of a living server":           {"C2", double(Asked, "12", 1)},
		"asked twice before the server was killed": {"C2", double(Asked, "13", 1)},
		"asked though nobody sent it":              {"C2", append1(Event{Kind: Asked, ID: "99 1:a:t 0", Node: "one"})},
		"two IDs for one action":                   {"C2", change(Sent, "3", 1, func(e *Event) { e.Mark = "mark of 4 1:a:t 0" })},
		"lost in a channel":                        {"C3", drop(Received, "3", 1)},
		"lost to a user":                           {"C3", drop(Received, "5", 1)},
		"lost to one of two clients":               {"C3", drop(Received, "6", 2)},
		"lost of the control API":                  {"C3", drop(Received, "1 server:x", 2)},
		"lost after another server died":           {"C3", drop(Received, "13", 1)},
		"lost at the end":                          {"C3", drop(Received, "18", 1)},
		"doubled":                                  {"C3", double(Received, "3", 1)},
		"swapped":                                  {"C4", later(Received, "3", 1, Received, "4", 1)},
		"lost while the subscription was asked":    {"C5", drop(Received, "9", 2)},
		"came to somebody else":                    {"C6", append1(Event{Kind: Received, Client: "2:b", Conn: 1, ID: "18 3:c:t 0", Mark: "mark of 18 3:c:t 0"})},
		"came after unsubscribing":                 {"C6", append1(Event{Kind: Received, Client: "2:b", Conn: 1, ID: "11 1:a:t 0", Mark: "mark of 11 1:a:t 0"})},
		"came to its author":                       {"C6", append1(Event{Kind: Received, Client: "3:c", Conn: 2, ID: "18 3:c:t 0", Mark: "mark of 18 3:c:t 0"})},
		"came to somebody left out":                {"C6", append1(Event{Kind: Received, Client: "2:b", Conn: 1, ID: "7 1:a:t 0", Mark: "mark of 7 1:a:t 0"})},
		"came before it was approved":              {"C6", later(Approved, "4", 1, Outcome, "4", 1)},
		"came with other content":                  {"C2", change(Received, "18", 1, func(e *Event) { e.ID = "77 1:a:t 0" })},
	} {
		t.Run(name, func(t *testing.T) {
			v := Judge(test.spoil(t, clean().events), Options{AckLimit: time.Hour, Grace: 3 * time.Millisecond})
			if v.Counts[test.rule] == 0 {
				t.Errorf("%s is not found broken: %v", test.rule, v)
			}
		})
	}
}

// A connection that ended excuses what was under way, but no hole: a later action of the same author by the same server came.
func TestHoleBeforeTheEndOfAConnection(t *testing.T) {
	tell := func(hole bool) *Verdict {
		s := newStory()
		s.connect("1:a", "one")
		s.connect("2:b", "two")
		s.subscribe("2:b", "news")
		s.publish("1:a", toChannel("news"))
		if hole {
			s.publish("1:a", toChannel("news"), "2:b")
		}
		s.leave("2:b")
		return Judge(s.events, Options{})
	}
	if v := tell(false); !v.OK() || v.Figures.Excused != 1 {
		t.Errorf("without a hole: %v", v)
	}
	if v := tell(true); v.Counts["C3"] != 1 {
		t.Errorf("with a hole: %v", v)
	}
}

// What came by a later subscription does not show a hole in an earlier one.
func TestNoHoleBeforeUnsubscribing(t *testing.T) {
	s := newStory()
	s.connect("1:a", "one")
	s.connect("2:b", "two")
	s.subscribe("2:b", "news")
	s.publish("1:a", toChannel("news")) // under way when the client unsubscribes
	s.unsubscribe("2:b", "news")
	s.subscribe("2:b", "news")
	s.publish("1:a", toChannel("news"), "2:b")
	if v := Judge(s.events, Options{}); !v.OK() || v.Figures.Excused != 1 {
		t.Errorf("%v", v)
	}
}

// What is kept while a subscription is asked comes after an action that was sent to the same channel later, and to another one too.
func TestOrderOfWhatIsKept(t *testing.T) {
	s := newStory()
	s.connect("1:a", "one")
	s.connect("2:b", "two")
	s.subscribe("2:b", "old")
	id := s.nextID("2:b")
	s.send("2:b", id, Subscribe, "new")
	s.ask("two", id)
	kept := s.publish("1:a", toChannel("new"))
	s.publish("1:a", Targets{Channels: []string{"new", "old"}}, "2:b")
	s.approve("two", id, nil)
	s.receive("2:b", kept)
	s.finish("2:b", id)
	if v := Judge(s.events, Options{}); !v.OK() {
		t.Errorf("%v", v)
	}
}

// A connection that lived long after the approval has no excuse.
func TestGrace(t *testing.T) {
	s := newStory()
	s.connect("1:a", "one")
	s.connect("2:b", "two")
	s.subscribe("2:b", "news")
	s.publish("1:a", toChannel("news"))
	s.leave("2:b")
	if v := Judge(s.events, Options{Grace: time.Second}); !v.OK() {
		t.Errorf("%v", v)
	}
	if v := Judge(s.events, Options{Grace: time.Millisecond}); v.Counts["C3"] != 1 {
		t.Errorf("%v", v)
	}
}

// A server that stands still re-sends what was approved meanwhile when it is awake: to whom is there then.
func TestApprovedWhileTheServerStoodStill(t *testing.T) {
	strict := Options{Grace: time.Millisecond}
	for awake, want := range map[bool]int{false: 0, true: 1} {
		s := newStory()
		s.connect("1:a", "one")
		s.connect("2:b", "two")
		s.subscribe("2:b", "news")
		s.add(Event{Kind: Dead, Node: "one"})
		id := s.nextID("1:a")
		s.send("1:a", id, "", "")
		s.ask("one", id)
		s.approve("one", id, &Targets{Channels: []string{"news"}})
		if awake {
			s.add(Event{Kind: Awake, Node: "one"})
			s.add(Event{Kind: Fault})
		}
		s.add(Event{Kind: Fault})
		s.unsubscribe("2:b", "news")
		if !awake {
			s.add(Event{Kind: Awake, Node: "one"})
		}
		s.finish("1:a", id)
		if v := Judge(s.events, strict); v.Counts["C3"] != want {
			t.Errorf("awake before the end of the subscription: %v: %v", awake, v)
		}
	}
}

// Who took an action over re-sent it. The one that stood still need not, though the back-end approves it once more.
func TestApprovedAgainAfterTakeover(t *testing.T) {
	for _, first := range []string{"two", "one"} {
		s := newStory()
		s.connect("1:a", "one")
		s.connect("2:b", "two")
		s.subscribe("2:b", "news")
		id := s.nextID("1:a")
		s.send("1:a", id, "", "")
		s.ask("one", id)
		s.add(Event{Kind: Dead, Node: "one"})
		s.ask("two", id)
		targets := &Targets{Channels: []string{"news"}}
		s.approve(first, id, targets)
		s.receive("2:b", id)
		s.connect("3:c", "two")
		s.subscribe("3:c", "news")
		s.add(Event{Kind: Awake, Node: "one"})
		s.approve(map[string]string{"two": "one", "one": "two"}[first], id, targets)
		s.finish("1:a", id)
		if v := Judge(s.events, Options{}); v.OK() != (first == "two") {
			t.Errorf("approved by %s first: %v", first, v)
		}
	}
}

// A random history of a server that does everything right passes; with one delivery gone, doubled or moved before an earlier one, it does not.
func TestRandomHistories(t *testing.T) {
	strict := Options{Grace: time.Millisecond} // nothing is excused
	for seed := range uint64(200) {
		r := rand.New(rand.NewPCG(seed, 1))
		events := randomStory(r)
		if v := Judge(events, strict); !v.OK() {
			t.Fatalf("seed %d: %v", seed, v)
		}
		var received []int
		for i, e := range events {
			if e.Kind == Received {
				received = append(received, i)
			}
		}
		if len(received) == 0 {
			continue
		}
		i := received[r.IntN(len(received))]
		if v := Judge(slices.Delete(slices.Clone(events), i, i+1), strict); v.Counts["C3"]+v.Counts["C5"] == 0 {
			t.Fatalf("seed %d: without %+v: %v", seed, events[i], v)
		}
		if v := Judge(slices.Insert(slices.Clone(events), i, events[i]), strict); v.Counts["C3"] == 0 {
			t.Fatalf("seed %d: with %+v twice: %v", seed, events[i], v)
		}
	}
}

func randomStory(r *rand.Rand) []Event {
	s := newStory()
	names := []string{"1:a", "2:b", "3:c", "4:d"}
	subscribed := make(map[string]map[string]bool)
	for _, name := range names {
		s.connect(name, "one")
		subscribed[name] = make(map[string]bool)
	}
	for range 60 {
		name := names[r.IntN(len(names))]
		channel := []string{"x", "y"}[r.IntN(2)]
		switch n := r.IntN(10); {
		case n < 2:
			s.subscribe(name, channel)
			subscribed[name][channel] = true
		case n == 2 && subscribed[name][channel]:
			s.unsubscribe(name, channel)
			subscribed[name][channel] = false
		case n == 3:
			s.leave(name)
			clear(subscribed[name])
			s.connect(name, "two")
		default:
			var receivers []string
			for _, other := range names {
				if other != name && subscribed[other][channel] {
					receivers = append(receivers, other)
				}
			}
			s.publish(name, toChannel(channel), receivers...)
		}
	}
	return s.events
}

func TestSaveAndLoad(t *testing.T) {
	path := filepath.Join(t.TempDir(), "history.jsonl")
	events := clean().events
	if err := Save(path, events); err != nil {
		t.Fatal(err)
	}
	loaded, err := Load(path)
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(loaded, events) {
		t.Error("the loaded history is another one")
	}
	if got, want := Judge(loaded, Options{}).String(), Judge(events, Options{}).String(); got != want {
		t.Errorf("the loaded history is judged %s, want %s", got, want)
	}
}

func TestRecorder(t *testing.T) {
	r := NewRecorder()
	for i := range 100 {
		r.Add(Event{Kind: Fault, Conn: i})
	}
	events := r.Events()
	r.Add(Event{})
	if len(events) != 100 || !slices.IsSortedFunc(events, func(a, b Event) int { return cmp.Compare(a.At, b.At) }) {
		t.Errorf("%d events: %v", len(events), events)
	}
}
