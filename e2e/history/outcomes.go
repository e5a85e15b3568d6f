package history

// judgeOutcome is C1.
func (j *judge) judgeOutcome(a *action) {
	if len(a.sends) == 0 {
		return
	}
	j.figures.Actions++
	first := a.sends[0]
	last := a.sends[len(a.sends)-1]
	// A subscription belongs to its connection. When that ended, the client subscribes anew.
	if (a.kind == Subscribe || a.kind == Unsubscribe) && last.conn.end != 0 {
		return
	}
	switch {
	case a.synced == 0:
		j.verdict.add("C1", first.at, "%s of %s was never acknowledged; sent %d times, last on connection %d to %s", a.name(), a.author, len(a.sends), last.conn.key.n, last.conn.node)
	case len(a.outcomes) == 0:
		j.verdict.add("C1", a.synced, "%s was acknowledged and has no outcome; sent %d times, last on connection %d to %s", a.name(), len(a.sends), last.conn.key.n, last.conn.node)
	}
	if a.synced != 0 && j.options.AckLimit > 0 && a.kind == "" {
		early := a.answeredAt == 0 || a.synced < a.answeredAt
		// The limit is counted from the arrival on any connection.
		if early && a.synced-first.at < j.options.AckLimit.Microseconds() {
			j.verdict.add("C1", a.synced, "%s was acknowledged before it had an outcome, %d ms after it was sent", a.name(), (a.synced-first.at)/1000)
		}
	}
	if len(a.outcomes) == 0 {
		return
	}
	j.figures.latency(&j.figures.outcomes, first.at, a.outcomes[0].at)
	distinct := make(map[string]bool)
	for i, o := range a.outcomes {
		distinct[o.by] = true
		for _, before := range a.outcomes[:i] {
			if before.by == o.by && before.conn == o.conn {
				j.verdict.add("C1", o.at, "%s got its outcome twice on connection %d to %s", a.name(), o.conn.key.n, o.conn.node)
				break
			}
		}
		if before := a.outcomes[0]; before.result != o.result {
			j.verdict.add("C1", o.at, "%s ended in %s and in %s", a.name(), before.result, o.result)
		}
	}
	j.figures.RepeatedOutcomes += len(a.outcomes) - len(distinct)
	if n := max(1, len(a.asks)); len(distinct) > n && a.kind == "" {
		j.verdict.add("C1", a.outcomes[1].at, "%s has %d outcomes and was processed %d times: %s came over connection %d to %s, %s over connection %d to %s", a.name(), len(distinct), len(a.asks),
			a.outcomes[0].by, a.outcomes[0].conn.key.n, a.outcomes[0].conn.node, a.outcomes[len(a.outcomes)-1].by, a.outcomes[len(a.outcomes)-1].conn.key.n, a.outcomes[len(a.outcomes)-1].conn.node)
	}
	if o := a.outcomes[0]; a.kind != Unsubscribe && a.answered != o.result {
		said := "said nothing"
		if a.answered != "" {
			said = "said " + a.answered
		}
		j.verdict.add("C1", o.at, "%s ended in %s, though the back-end %s", a.name(), o.result, said)
	}
}

// judgeCommands is C2.
func (j *judge) judgeCommands(a *action) {
	if len(a.asks) == 0 {
		return
	}
	if len(a.sends) == 0 {
		j.verdict.add("C2", a.asks[0].at, "the back-end was asked about %s, which nobody sent", a.name())
		return
	}
	if a.kind == Subscribe {
		return
	}
	for i, again := range a.asks[1:] {
		if j.lostWith(a, again.at) > i {
			j.figures.CommandsAgain++
			continue
		}
		before := a.asks[i]
		j.verdict.add("C2", again.at, "the back-end was asked about %s by %s again, %d ms after %s, and no server that had it was lost", a.name(), again.node, (again.at-before.at)/1000, before.node)
	}
}

// dying is how long a server may go on after its loss was recorded, which happens before the signal, in microseconds.
const dying = 250_000

// lostWith is how often servers that had a were lost before a time.
func (j *judge) lostWith(a *action, before int64) (n int) {
	had := make(map[string]int64) // since when
	for _, s := range a.sends {
		if _, known := had[s.conn.node]; !known {
			had[s.conn.node] = s.at
		}
	}
	for _, s := range a.asks {
		if _, known := had[s.node]; !known && s.at < before {
			had[s.node] = s.at
		}
	}
	for node, since := range had {
		for _, at := range j.lost[node] {
			if since <= at+dying && at <= before {
				n++
			}
		}
	}
	return n
}

func (a *action) name() string {
	switch a.kind {
	case "":
		return "action " + a.id
	default:
		return a.kind + " " + a.id + " of " + a.channel
	}
}
