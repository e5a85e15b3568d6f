package history

import "slices"

// An address is what a re-sent action can be addressed to: a channel, or a client by one of its names.
type address struct {
	kind byte // 'c'hannel, 'u'ser, c'l'ient
	name string
}

// addresses are those of t. A node is its client.
func (t *Targets) addresses() []address {
	all := make([]address, 0, len(t.Channels)+len(t.Users)+len(t.Clients)+len(t.Nodes))
	for _, name := range t.Channels {
		all = append(all, address{'c', name})
	}
	for _, name := range t.Users {
		all = append(all, address{'u', name})
	}
	for _, name := range t.Clients {
		all = append(all, address{'l', name})
	}
	for _, name := range t.Nodes {
		all = append(all, address{'l', client(name)})
	}
	return all
}

// leavesOut reports whether an action of author does not go to client by way of address.
func (t *Targets) leavesOut(to address, client, author string) bool {
	if to.kind == 'l' {
		return false
	}
	return client == author || slices.Contains(t.Exclude, client)
}

// A place is an interval in which a connection is addressed by some address.
type place struct {
	conn *conn
	*interval
}

// judgeDeliveries is C3 to C6.
func (j *judge) judgeDeliveries() {
	places := j.places()
	j.judgeMarks()
	for _, c := range j.all {
		j.judgeReceived(c, places)
	}
	missing := make(map[place][]*action)
	for _, a := range j.order {
		if len(a.resends) > 0 {
			j.judgeResent(a, places, missing)
		}
	}
	j.judgeHoles(missing)
}

// places are all intervals by address.
func (j *judge) places() map[address][]place {
	places := make(map[address][]place)
	for _, c := range j.all {
		life := &interval{sent: c.began, from: c.began, until: c.end}
		id := c.key.client
		places[address{'l', id}] = append(places[address{'l', id}], place{c, life})
		if u := user(id); u != "" {
			places[address{'u', u}] = append(places[address{'u', u}], place{c, life})
		}
		for channel, intervals := range c.intervals {
			for _, i := range intervals {
				j.date(c, i)
				places[address{'c', channel}] = append(places[address{'c', channel}], place{c, i})
			}
		}
	}
	return places
}

// date says from when to when a subscription must get actions.
func (j *judge) date(c *conn, i *interval) {
	if i.until == 0 || c.end != 0 && c.end < i.until {
		i.until = c.end
	}
	if !i.fresh || i.sub.subscribed == 0 {
		return
	}
	if !slices.ContainsFunc(i.sub.outcomes, func(o outcome) bool { return o.conn == c && o.result == Processed }) {
		return
	}
	for _, ask := range i.sub.asks {
		if ask.at > i.sent {
			i.from = ask.at
			return
		}
	}
}

// judgeMarks finds two IDs for one action (C2), and an action that came with the content of another.
func (j *judge) judgeMarks() {
	ids := make(map[string]*action)
	for _, a := range j.order {
		if a.mark == "" {
			continue
		}
		if other := ids[a.mark]; other != nil {
			j.verdict.add("C2", 0, "one action has the IDs %s and %s", other.id, a.id)
		}
		ids[a.mark] = a
	}
}

// last is the resend whose receivers are bound to get a; nil when none is sure.
func (a *action) last() *resend {
	for i := len(a.resends) - 1; i >= 0; i-- {
		if a.resends[i].sure {
			return &a.resends[i]
		}
	}
	return nil
}

// judgeResent finds addressees that a did not reach. Those whose connection ended meanwhile are noted in missing.
func (j *judge) judgeResent(a *action, places map[address][]place, missing map[place][]*action) {
	j.judgeAgain(a)
	last := a.last()
	if last == nil {
		return
	}
	author, heard := a.author, j.heard(last)
	seen := make(map[*conn]bool)
	for _, to := range last.targets.addresses() {
		for _, p := range places[to] {
			if seen[p.conn] || p.from == 0 || last.at <= p.from || p.until != 0 && last.at >= p.until || last.targets.leavesOut(to, p.conn.key.client, author) {
				continue
			}
			seen[p.conn] = true
			j.figures.Expected++
			if got := a.receivedOn(p.conn); got != 0 {
				j.figures.latency(&j.figures.deliveries, last.at, got)
				continue
			}
			if p.until != 0 && p.until-heard < j.options.Grace.Microseconds() {
				missing[p] = append(missing[p], a)
				continue
			}
			j.lostDelivery(a, p, last, "")
		}
	}
}

func (a *action) receivedOn(c *conn) int64 {
	for _, r := range a.receipts {
		if r.conn == c {
			return r.at
		}
	}
	return 0
}

func (j *judge) lostDelivery(a *action, p place, by *resend, how string) {
	rule, what := "C3", ""
	if p.sub != nil {
		what = " subscribed to " + p.sub.channel
		if by.at < p.sub.subscribed {
			rule = "C5"
		}
	}
	j.verdict.add(rule, by.at, "action %s, re-sent by %s, is missing at %s on its connection %d to %s%s%s", a.id, by.node, p.conn.key.client, p.conn.key.n, p.conn.node, what, how)
}

// judgeAgain is the "once" of C3.
func (j *judge) judgeAgain(a *action) {
	perConn := make(map[*conn]int)
	for _, r := range a.receipts {
		perConn[r.conn]++
		if n := perConn[r.conn]; n > len(a.resends) {
			j.verdict.add("C3", r.at, "action %s came %d times to %s on its connection %d to %s and was re-sent %d times", a.id, n, r.conn.key.client, r.conn.key.n, r.conn.node, len(a.resends))
		} else if n > 1 {
			j.figures.ReceivedAgain++
		}
	}
}

// judgeHoles looks at places that ended too early for their missing actions to be lost for sure: what a later action of the same author overtook
// is, when both went through the same server.
func (j *judge) judgeHoles(missing map[place][]*action) {
	for p, actions := range missing {
		type stream struct{ author, node string }
		latest := make(map[stream]*action)
		for nth, a := range p.conn.received {
			last := a.last()
			if last == nil || !p.carries(last.targets) || len(a.asks) == 0 || p.closed != 0 && a.receiptAt(p.conn, nth) >= p.closed {
				continue // what came after unsubscribing came by another subscription
			}
			s := stream{a.author, last.node}
			if l := latest[s]; l == nil || l.asks[0].at < a.asks[0].at {
				latest[s] = a
			}
		}
		for _, a := range actions {
			by := a.last()
			if l := latest[stream{a.author, by.node}]; l != nil && by.at < l.asks[0].at {
				j.lostDelivery(a, p, by, ", where the later action "+l.id+" came")
			} else {
				j.figures.Excused++
			}
		}
	}
}

// carries reports whether p is addressed by t.
func (p place) carries(t *Targets) bool {
	if p.sub != nil {
		return slices.Contains(t.Channels, p.sub.channel)
	}
	id := p.conn.key.client
	return slices.ContainsFunc(t.addresses(), func(to address) bool {
		return to.kind == 'l' && to.name == id || to.kind == 'u' && to.name == user(id)
	})
}

// judgeReceived looks at all that came over one connection: C4 and C6.
func (j *judge) judgeReceived(c *conn, places map[address][]place) {
	type stream struct{ author, channel string }
	newest := make(map[stream]*action)
	seen := make(map[*action]bool)
	for nth, a := range c.received {
		j.figures.Received++
		at := a.receiptAt(c, nth)
		j.judgeAddressed(c, a, at)
		last := a.last()
		if last == nil || last.control || seen[a] || len(a.asks) == 0 {
			continue
		}
		seen[a] = true
		for _, channel := range last.targets.Channels {
			if !c.listens(channel, last.at) && c.addressedBeside(channel, last) {
				continue // it did not come by this channel
			}
			s := stream{a.author, channel}
			n := newest[s]
			if n != nil && last.at < n.asks[0].at {
				j.verdict.add("C4", at, "action %s (re-sent by %s) came to %s on its connection %d to %s after %s (re-sent by %s), before which it was processed", a.id, last.node, c.key.client, c.key.n, c.node, n.id, n.last().node)
			}
			if n == nil || n.asks[0].at < a.asks[0].at {
				newest[s] = a
			}
		}
	}
}

// listens reports whether c was subscribed to channel at a time, with the back-end's approval.
func (c *conn) listens(channel string, at int64) bool {
	return slices.ContainsFunc(c.intervals[channel], func(i *interval) bool {
		return i.sub.subscribed != 0 && i.sub.subscribed <= at && (i.closed == 0 || at < i.closed)
	})
}

// addressedBeside reports whether r reaches c by another way than channel.
func (c *conn) addressedBeside(channel string, r *resend) bool {
	return place{c, &interval{}}.carries(r.targets) || slices.ContainsFunc(r.targets.Channels, func(other string) bool {
		return other != channel && c.listens(other, r.at)
	})
}

func (a *action) receiptAt(c *conn, nth int) int64 {
	for _, r := range a.receipts {
		if r.conn == c && r.nth == nth {
			return r.at
		}
	}
	return 0
}

// judgeAddressed is C6.
func (j *judge) judgeAddressed(c *conn, a *action, at int64) {
	id := c.key.client
	why := "was not re-sent"
	for i := range a.resends {
		r := &a.resends[i]
		if r.at > at {
			break
		}
		why = "was re-sent to others"
		for _, to := range r.targets.addresses() {
			if r.targets.leavesOut(to, id, a.author) {
				why = "leaves it out"
				continue
			}
			switch to.kind {
			case 'l':
				if to.name == id {
					return
				}
			case 'u':
				if to.name == user(id) {
					return
				}
			case 'c':
				for _, s := range c.intervals[to.name] {
					if s.sent <= at && (s.closed == 0 || at < s.closed) {
						return
					}
					why = "came to a channel that it had left"
				}
			}
		}
	}
	j.verdict.add("C6", at, "%s got action %s on its connection %d to %s, which %s", id, a.id, c.key.n, c.node, why)
}
