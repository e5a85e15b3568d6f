//go:build cluster

package cluster

import (
	"context"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

const (
	lookPeriod = 5 * time.Second // of the autoscaler
	patience   = 30 * time.Second

	each      = 50 // connections that a pod is meant to have
	few, many = 2 * each, 4 * each
	window    = 20 * time.Second // before pods go
	period    = 15 * time.Second // between two that go
)

// The chart's own pace in would take an hour here; that out is the chart's.
var scaled = fmt.Sprintf(`
redis: {hosts: [redis:6379]}
minReadySeconds: 1
resources: {requests: {cpu: 1}}
drain: {preStop: 1s, grace: 1s, time: 3s}
settings: {LOGUX_REBALANCE_MIN: 10, LOGUX_REBALANCE_DELAY: 2s}
autoscaling:
  enabled: true
  minReplicas: 2
  maxReplicas: 8
  connections: %d
  behavior:
    scaleUp:
      stabilizationWindowSeconds: 0
      selectPolicy: Max
      policies: [{type: Percent, value: 100, periodSeconds: 30}, {type: Pods, value: 2, periodSeconds: 30}]
    scaleDown: {stabilizationWindowSeconds: %.0f, policies: [{type: Pods, value: 1, periodSeconds: %.0f}]}
`, each, window.Seconds(), period.Seconds())

// Twice the clients become twice the pods at once; when they go, pods go one by one, each after the other has had its time. The
// metric is that of processes that play the pods, and the clients are real connections.
func (p *plane) testAutoscaling(t *testing.T) {
	port := freePort(t)
	p.start(t, "redis-server", "--bind", "127.0.0.1", "--port", port, "--save", "", "--appendonly", "no")
	r := &release{p, "shop", p.namespace(t, "autoscaling"), filepath.Join(p.dir, "autoscaling.yaml")}
	write(t, r.values, scaled)
	before := r.inventory(t)
	s := startStage(t, r, "redis://127.0.0.1:"+port, startBackend(t))
	p.startAdapter(t, s)
	r.must(t, "install")
	clients := startCrowd(t, s.addresses)
	l := startTimeline(t, r, s, clients)

	clients.set(few)
	l.say("%d clients come", few)
	await(t, "two pods with all clients", 2*time.Minute, func() error { return l.settled(2, few) })
	await(t, "the autoscaler to see them", time.Minute, func() error { return r.sees(t, each) })

	clients.set(many)
	rise := l.say("%d clients", many)
	await(t, "twice the pods", patience+lookPeriod, func() error { return l.have(4) })
	await(t, "all clients", time.Minute, func() error { return l.settled(4, many) })

	clients.set(few)
	fall := l.say("%d clients", few)
	await(t, "two pods again", window+4*period+patience, func() error { return l.settled(2, few) })
	l.say("settled: %d pods, and all clients are connected", 2)

	out, in := l.between(rise, fall), l.between(fall, time.Now())
	if first := out[0].at.Sub(rise); out[len(out)-1].pods != 4 || first > patience+lookPeriod {
		t.Errorf("out after %v to %v", first, out)
	}
	if len(in) != 2 || in[0].pods != 3 || in[1].pods != 2 {
		t.Fatalf("in by more than a pod at a time: %v", in)
	}
	if first, second := in[0].at.Sub(fall), in[1].at.Sub(in[0].at); first < window-lookPeriod || second < period-time.Second {
		t.Errorf("in after %v and %v, want %v and %v at least", first, second, window, period)
	}
	clients.set(0)
	r.remove(t, before)
}

// sees says what the autoscaler does not see: connections for each pod, and CPU.
func (r *release) sees(t *testing.T, connections int64) error {
	t.Helper()
	all, err := r.client.AutoscalingV2().HorizontalPodAutoscalers(r.namespace).List(t.Context(), metav1.ListOptions{})
	if err != nil || len(all.Items) != 1 {
		return fmt.Errorf("%d autoscalers: %w", len(all.Items), err)
	}
	seen := 0
	for _, m := range all.Items[0].Status.CurrentMetrics {
		if m.Pods != nil && m.Pods.Current.AverageValue.Value() == connections || m.ContainerResource != nil && m.ContainerResource.Current.AverageUtilization != nil {
			seen++
		}
	}
	if seen != 2 {
		return fmt.Errorf("it sees %+v, %+v", all.Items[0].Status.CurrentMetrics, all.Items[0].Status.Conditions)
	}
	return nil
}

// A timeline is what was seen each second, and when the number of pods was changed.
type timeline struct {
	r       *release
	s       *stage
	clients *crowd
	began   time.Time
	cancel  context.CancelFunc
	done    sync.WaitGroup

	mu sync.Mutex
	// Guarded by mu.

	text  strings.Builder
	steps []step
	ready int // pods
}

// A step is a change of the number of pods that there are to be.
type step struct {
	at   time.Time
	pods int
}

func (s step) String() string { return fmt.Sprintf("%d pods", s.pods) }

func startTimeline(t *testing.T, r *release, s *stage, clients *crowd) *timeline {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	l := &timeline{r: r, s: s, clients: clients, began: time.Now(), cancel: cancel}
	watch, err := r.client.AppsV1().Deployments(r.namespace).Watch(ctx, r.selector("proxy"))
	if err != nil {
		t.Fatal(err)
	}
	l.done.Go(func() {
		for event := range watch.ResultChan() {
			if d, is := event.Object.(*appsv1.Deployment); is {
				l.changed(d)
			}
		}
	})
	l.done.Go(func() {
		tick := time.NewTicker(5 * time.Second)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
				l.sample(ctx)
			}
		}
	})
	t.Cleanup(func() { t.Log(l.stop()) })
	return l
}

// stop ends it, and returns all lines; they are shown however the test ends.
func (l *timeline) stop() string {
	l.cancel()
	l.done.Wait()
	l.mu.Lock()
	defer l.mu.Unlock()
	return "\n" + l.text.String()
}

// say writes a line, and returns the time.
func (l *timeline) say(format string, args ...any) time.Time {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.line(format, args...)
}

// line is say with mu held.
func (l *timeline) line(format string, args ...any) time.Time {
	now := time.Now()
	fmt.Fprintf(&l.text, "%6.1f s  %s\n", now.Sub(l.began).Seconds(), fmt.Sprintf(format, args...))
	return now
}

func (l *timeline) changed(d *appsv1.Deployment) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if ready := int(d.Status.ReadyReplicas); ready != l.ready {
		l.ready = ready
		l.line("%d pods are ready", ready)
	}
	if pods := int(*d.Spec.Replicas); len(l.steps) == 0 || l.steps[len(l.steps)-1].pods != pods {
		l.steps = append(l.steps, step{l.line("there are to be %d pods", pods), pods})
	}
}

func (l *timeline) sample(ctx context.Context) {
	loads := l.s.look(ctx)
	var text []string
	for _, name := range slices.Sorted(maps.Keys(loads)) {
		text = append(text, fmt.Sprintf("%s %d", name[strings.LastIndexByte(name, '-')+1:], loads[name].connections))
	}
	l.say("%d clients are connected: %s", l.clients.connected.Load(), strings.Join(text, ", "))
}

// between are the changes of a time.
func (l *timeline) between(from, to time.Time) []step {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(l.steps), func(s step) bool { return s.at.Before(from) || s.at.After(to) })
}

// have says what is missing until there are so many pods, and are to be.
func (l *timeline) have(pods int) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if wanted := l.steps; len(wanted) == 0 || wanted[len(wanted)-1].pods != pods || l.ready != pods {
		return fmt.Errorf("%d pods are ready of %v", l.ready, wanted)
	}
	return nil
}

// settled says what is missing until so many pods have all the clients.
func (l *timeline) settled(pods, clients int) error {
	if err := l.have(pods); err != nil {
		return err
	}
	if n := len(l.s.addresses()); n != pods || l.clients.connected.Load() != int64(clients) {
		return fmt.Errorf("%d clients are connected to %d pods", l.clients.connected.Load(), n)
	}
	return nil
}
