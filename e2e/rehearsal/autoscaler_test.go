package rehearsal

import (
	"testing"
	"time"
)

func TestAutoscaler(t *testing.T) {
	a := Autoscaler{Target: 500, Min: 2, Max: 5, Window: 20 * time.Second, Period: 10 * time.Second, Up: 2, Down: 1}
	now := time.Unix(0, 0)
	for _, step := range []struct {
		after  time.Duration
		values []int
		want   int
		why    string
	}{
		{0, []int{400, 400}, 2, "in between"},
		{5 * time.Second, []int{545, 545}, 2, "within the tolerance"},
		{5 * time.Second, []int{600, 600}, 3, "above it"},
		{5 * time.Second, []int{900, 900, 0}, 3, "the period is not over"},
		{5 * time.Second, []int{1200, 1200, 0}, 5, "two at most, five at most"},
		{15 * time.Second, []int{480, 480, 480, 480, 480}, 5, "enough"},
		{5 * time.Second, []int{160, 160, 160, 160, 160}, 5, "the window is not over"},
		{10 * time.Second, []int{160, 160, 160, 160, 160}, 5, "still not"},
		{8 * time.Second, []int{160, 160, 160, 160, 160}, 4, "one at a time"},
		{5 * time.Second, []int{200, 200, 200, 200}, 4, "the period is not over"},
		{5 * time.Second, []int{200, 200, 200, 200}, 3, "one more"},
		{15 * time.Second, []int{10, 10, 10}, 2, "two at least"},
	} {
		now = now.Add(step.after)
		if got := a.Step(now, step.values); got != step.want {
			t.Errorf("%v: %d nodes, want %d: %s", step.values, got, step.want, step.why)
		}
	}
}
