package main

import "testing"

// The load test is only worth something when it notices: each fault that a server can make is
// counted, and nothing else is.
func TestTally(t *testing.T) {
	const publications = 200
	for _, c := range []struct {
		name    string
		deliver func(m []mark) []mark
		want    tally
	}{
		{"all", func(m []mark) []mark { return m }, tally{delivered: publications}},
		{"none", func([]mark) []mark { return nil }, tally{lost: publications}},
		{"the first missing", func(m []mark) []mark { return m[1:] }, tally{delivered: publications - 1, lost: 1, overtaken: 64}},
		{"the last missing", func(m []mark) []mark { return m[:publications-1] }, tally{delivered: publications - 1, lost: 1}},
		{"one doubled", func(m []mark) []mark { return append(m, m[7]) }, tally{delivered: publications, duplicated: 1}},
		{"one doubled at once", func(m []mark) []mark { return append([]mark{m[0], m[0]}, m[1:]...) }, tally{delivered: publications, duplicated: 1}},
		{"one overtaken and doubled", func(m []mark) []mark {
			return append([]mark{m[1], m[1], m[0]}, m[2:]...)
		}, tally{delivered: publications, duplicated: 1, overtaken: 1}},
		{"one overtaken", func(m []mark) []mark {
			m[3], m[4] = m[4], m[3]
			return m
		}, tally{delivered: publications, overtaken: 1}},
		{"one of another channel", func(m []mark) []mark {
			m[5].channel = 1
			return m
		}, tally{delivered: publications - 1, lost: 1, wrong: 1, overtaken: 64}},
		{"one that was never published", func(m []mark) []mark {
			return append(m, mark{seq: publications, publication: publications})
		}, tally{delivered: publications, wrong: 1}},
		{"a hundred missing", func(m []mark) []mark { return m[100:] }, tally{delivered: 100, lost: 100, overtaken: 64}},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := newTally(2)
			got.channels[0].subscribers = 1
			var marks []mark
			for range publications {
				marks = append(marks, got.publish(0, 0))
			}
			var p place
			for _, m := range c.deliver(marks) {
				got.deliver(0, &p, m, 1)
			}
			got.finish(0, &p)
			if got.overtaken != c.want.overtaken {
				t.Errorf("overtaken %d, want %d", got.overtaken, c.want.overtaken)
			}
			if got.delivered != c.want.delivered || got.lost != c.want.lost || got.duplicated != c.want.duplicated || got.wrong != c.want.wrong {
				t.Errorf("delivered %d, lost %d, duplicated %d, wrong %d", got.delivered, got.lost, got.duplicated, got.wrong)
			}
			if got.open != int(c.want.lost) {
				t.Errorf("%d publications did not reach everybody, want %d", got.open, c.want.lost)
			}
		})
	}
}

func TestTallyOfSeveralSubscribers(t *testing.T) {
	got := newTally(1)
	got.channels[0].subscribers = 2
	var one, two place
	first, second := got.publish(0, 100), got.publish(0, 200)
	got.deliver(0, &one, first, 150)
	got.deliver(0, &one, second, 250)
	got.deliver(0, &two, second, 1200)
	if got.open != 1 {
		t.Errorf("%d publications are open", got.open)
	}
	got.deliver(0, &two, first, 1300)
	got.finish(0, &one)
	got.finish(0, &two)
	if got.open != 0 || got.lost != 0 || got.duplicated != 0 || got.delivered != 4 || got.latency.Max != 1200 {
		t.Errorf("%d open, %d lost, %d duplicated, %d delivered, %d at most", got.open, got.lost, got.duplicated, got.delivered, got.latency.Max)
	}
}
