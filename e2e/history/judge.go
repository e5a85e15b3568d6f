package history

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"
)

// DefaultGrace is Options.Grace when it is zero.
const DefaultGrace = 30 * time.Second

// Options say how strict a judge is.
type Options struct {
	// Grace is how long an action may take to an addressee that is not live to the end.
	Grace time.Duration
	// AckLimit is the time for which a server must not acknowledge an action without an outcome; 0: it may at any time.
	AckLimit time.Duration
}

// A Violation is one broken rule.
type Violation struct {
	Rule string // "C1" to "C6"
	At   int64  // of the event that shows it, in microseconds
	Text string
}

// A Verdict is what a history shows.
type Verdict struct {
	Counts     map[string]int // violations by rule
	Violations []Violation    // the first of each rule
	Figures    Figures
}

// kept is how many violations of a rule are told.
const kept = 20

// OK reports whether all rules held.
func (v *Verdict) OK() bool { return len(v.Counts) == 0 }

func (v *Verdict) add(rule string, at int64, format string, args ...any) {
	if v.Counts[rule]++; v.Counts[rule] <= kept {
		v.Violations = append(v.Violations, Violation{rule, at, fmt.Sprintf(format, args...)})
	}
}

// String tells figures and violations, a line each.
func (v *Verdict) String() string {
	var b strings.Builder
	b.WriteString(v.Figures.String())
	if v.OK() {
		b.WriteString("\nC1 to C6 hold")
	}
	for _, rule := range []string{"C1", "C2", "C3", "C4", "C5", "C6"} {
		if n := v.Counts[rule]; n > 0 {
			fmt.Fprintf(&b, "\n%s is broken %d times:", rule, n)
		}
		for _, x := range v.Violations {
			if x.Rule == rule {
				fmt.Fprintf(&b, "\n  %.3f s: %s", float64(x.At)/1e6, x.Text)
			}
		}
	}
	return b.String()
}

// Judge says what a history shows. Whatever still was under way when it ended counts as missing.
func Judge(events []Event, o Options) *Verdict {
	o.Grace = cmp.Or(o.Grace, DefaultGrace)
	j := &judge{
		options: o,
		verdict: &Verdict{Counts: make(map[string]int)},
		actions: make(map[string]*action),
		conns:   make(map[connKey]*conn),
		current: make(map[string]*conn),
		lost:    make(map[string][]int64),
		rests:   make(map[string][]rest),
	}
	j.figures = &j.verdict.Figures
	for i := range events {
		j.read(&events[i])
	}
	for _, a := range j.order {
		j.judgeOutcome(a)
		j.judgeCommands(a)
	}
	j.judgeDeliveries()
	j.figures.finish()
	slices.SortStableFunc(j.verdict.Violations, func(a, b Violation) int { return cmp.Compare(a.At, b.At) })
	return j.verdict
}

// A judge reads the events into actions and connections, and then looks at each.
type judge struct {
	options Options
	verdict *Verdict
	figures *Figures

	actions map[string]*action
	order   []*action // as they appeared
	conns   map[connKey]*conn
	all     []*conn
	current map[string]*conn   // of each client
	lost    map[string][]int64 // when servers were killed or could be taken for dead
	rests   map[string][]rest  // of servers that could be taken for dead
}

type connKey struct {
	client string
	n      int
}

// A rest is a time in which a server stood still, or may have been taken for dead.
type rest struct{ from, until int64 } // until 0: to the end of the history

// An action is all that happened to one action ID.
type action struct {
	id, kind, mark, channel string
	author                  string // client ID
	sends                   []send
	synced                  int64 // first time; 0: not
	outcomes                []outcome
	asks                    []ask
	subscribed              int64 // first approval of a subscription
	resends                 []resend
	answered                string // the back-end's last outcome
	answeredAt              int64
	receipts                []receipt
}

type send struct {
	at   int64
	conn *conn
}

type outcome struct {
	at         int64
	conn       *conn
	by, result string
}

type ask struct {
	at   int64
	node string
}

// A resend is an approval of an action with its targets, or a call of the control API.
type resend struct {
	at      int64
	node    string // that was to do it
	targets *Targets
	control bool
	sure    bool // an approval, or a call that was accepted
}

type receipt struct {
	at   int64
	conn *conn
	nth  int // in the connection
}

// A conn is one connection of a client.
type conn struct {
	key       connKey
	node      string
	began     int64
	end       int64 // 0: it lived to the end of the history
	received  []*action
	intervals map[string][]*interval // by channel
}

// An interval is one subscription of a connection, or, for the actions that are addressed to it by name, its life.
type interval struct {
	sub    *action // nil: the life of the connection
	unsub  *action // nil: none
	fresh  bool    // sub was first sent on this connection
	sent   int64   // from here it may get actions
	from   int64   // from here it must; 0: it need not
	until  int64   // to here it must; 0: to the end of the history
	closed int64   // from here it must not; 0: no such time
}

func (j *judge) action(e *Event) *action {
	a := j.actions[e.ID]
	if a == nil {
		a = &action{id: e.ID, author: author(e.ID)}
		j.actions[e.ID] = a
		j.order = append(j.order, a)
	}
	a.mark = cmp.Or(a.mark, e.Mark)
	return a
}

// author is the client ID in an action ID.
func author(id string) string {
	_, rest, _ := strings.Cut(id, " ")
	node, _, _ := strings.Cut(rest, " ")
	return client(node)
}

func client(node string) string {
	parts := strings.SplitN(node, ":", 3)
	return strings.Join(parts[:min(2, len(parts))], ":")
}

func user(clientID string) string {
	user, _, named := strings.Cut(clientID, ":")
	if !named {
		return ""
	}
	return user
}

func (j *judge) conn(e *Event) *conn {
	key := connKey{e.Client, e.Conn}
	c := j.conns[key]
	if c == nil {
		c = &conn{key: key, node: e.Node, began: e.At, intervals: make(map[string][]*interval)}
		j.conns[key] = c
		j.all = append(j.all, c)
	}
	return c
}

// read takes one event.
func (j *judge) read(e *Event) {
	switch e.Kind {
	case Connected:
		j.figures.connected(e, j.current[e.Client])
		j.current[e.Client] = j.conn(e)
	case Disconnected:
		if c := j.conn(e); c.end == 0 {
			c.end = e.At
		}
	case Sent:
		j.sent(e)
	case Synced:
		if a := j.action(e); a.synced == 0 {
			a.synced = e.At
		}
	case Outcome:
		j.outcome(e)
	case Received:
		a, c := j.action(e), j.conn(e)
		a.receipts = append(a.receipts, receipt{e.At, c, len(c.received)})
		c.received = append(c.received, a)
	case Asked:
		a := j.action(e)
		a.asks = append(a.asks, ask{e.At, e.Node})
	case Approved:
		a := j.action(e)
		if a.kind == Subscribe {
			a.subscribed = cmp.Or(a.subscribed, e.At)
		} else if e.Targets != nil {
			a.resends = append(a.resends, resend{at: e.At, node: e.Node, targets: e.Targets, sure: !j.takenOver(a, e.Node)})
		}
	case Answered:
		a := j.action(e)
		a.answered, a.answeredAt = e.Result, e.At
	case Posting:
		a := j.action(e)
		a.resends = append(a.resends, resend{at: e.At, node: e.Node, targets: e.Targets, control: true})
	case Posted:
		a := j.action(e)
		for i := range a.resends {
			a.resends[i].sure = a.resends[i].sure || a.resends[i].node == e.Node
		}
	case Killed:
		j.lost[e.Node] = append(j.lost[e.Node], e.At)
	case Dead:
		j.lost[e.Node] = append(j.lost[e.Node], e.At)
		j.rests[e.Node] = append(j.rests[e.Node], rest{from: e.At})
	case Awake:
		if all := j.rests[e.Node]; len(all) > 0 && all[len(all)-1].until == 0 {
			all[len(all)-1].until = e.At
		}
	}
}

// takenOver reports whether another server had a approved after node could be taken for dead.
func (j *judge) takenOver(a *action, node string) bool {
	rests := j.rests[node]
	return len(rests) > 0 && slices.ContainsFunc(a.resends, func(r resend) bool { return r.node != node && r.at >= rests[len(rests)-1].from })
}

// heard returns when r's server read the approval.
func (j *judge) heard(r *resend) int64 {
	for _, rest := range j.rests[r.node] {
		if rest.from <= r.at && r.at < rest.until {
			return rest.until
		}
	}
	return r.at
}

func (j *judge) sent(e *Event) {
	a, c := j.action(e), j.conn(e)
	a.kind, a.channel = e.Type, e.Channel
	a.sends = append(a.sends, send{e.At, c})
	switch e.Type {
	case Subscribe:
		c.intervals[e.Channel] = append(c.intervals[e.Channel], &interval{sub: a, sent: e.At, fresh: len(a.sends) == 1})
	case Unsubscribe:
		for _, i := range c.intervals[e.Channel] {
			if i.unsub == nil {
				i.unsub, i.until = a, e.At
			}
		}
	}
}

func (j *judge) outcome(e *Event) {
	a, c := j.action(e), j.conn(e)
	a.outcomes = append(a.outcomes, outcome{e.At, c, e.By, e.Result})
	if a.kind == Unsubscribe {
		for _, i := range c.intervals[a.channel] {
			if i.unsub == a && i.closed == 0 {
				i.closed = e.At
			}
		}
	}
}
