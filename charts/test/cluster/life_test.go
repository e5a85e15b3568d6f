//go:build cluster

package cluster

import (
	"maps"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// A release from its installation to its end: upgrades and rollbacks replace pods one by one and keep what was made by chance,
// and an upgrade that cannot work takes nothing away.
func (p *plane) testLife(t *testing.T) {
	const replicas = 3
	r := &release{p, "shop", p.namespace(t, "life"), ""}
	p.refusesPods(t, r.namespace)
	before := r.inventory(t)
	fixed := []string{"--wait", "--timeout=2m", "--set", "redis.hosts={redis:6379},replicas=3,minReadySeconds=2"}

	r.must(t, "install", fixed...)
	first, made := r.pods(t), r.secret(t)
	if len(first) != replicas || len(made["gossip-key"]) != 44 || len(made["control-secret"]) != 32 {
		t.Fatalf("%d pods, and a gossip key of %d characters", len(first), len(made["gossip-key"]))
	}
	t.Logf("installed: %d pods", len(first))

	r.must(t, "upgrade", fixed...)
	if now := r.pods(t); !maps.EqualFunc(first, now, same) {
		t.Errorf("an upgrade without a change replaces pods")
	}

	least := r.watchAvailable(t)
	r.must(t, "upgrade", append(fixed, "--set", "settings.LOGUX_BACKEND_HOLD=90s")...)
	r.isReady(t)
	changed := r.pods(t)
	r.replaced(t, first, changed)
	if got := r.variable(t, "LOGUX_BACKEND_HOLD"); got != "90s" {
		t.Errorf("the changed setting is %q", got)
	}
	if n := least(); n < replicas {
		t.Errorf("while it was upgraded %d pods were available, want %d", n, replicas)
	}
	t.Logf("upgraded: other pods, never fewer than %d", replicas)

	least = r.watchAvailable(t)
	for range 2 {
		r.must(t, "upgrade", append(fixed, "--set", "settings.LOGUX_BACKEND_HOLD=90s,autoscaling.enabled=true")...)
	}
	if now := r.pods(t); !maps.EqualFunc(changed, now, same) || least() < replicas {
		t.Error("turning autoscaling on takes pods away")
	}

	if _, err := r.helm(t, "upgrade", append(fixed, "--set", "replicas=-1")...); err == nil || !strings.Contains(err.Error(), "replicas") {
		t.Errorf("an upgrade with nonsense: %v", err)
	}

	least = r.watchAvailable(t)
	broken := []string{"--wait", "--timeout=10s", "--reuse-values", "--set", "podSecurityContext.runAsUser=0,podSecurityContext.runAsNonRoot=false"}
	if _, err := r.helm(t, "upgrade", broken...); err == nil {
		t.Error("pods that may not be are no failure")
	}
	if text := r.complaints(t); !strings.Contains(text, `violates PodSecurity "restricted:latest"`) {
		t.Errorf("nobody says why there is no pod: %s", text)
	}
	if now := r.pods(t); !maps.EqualFunc(changed, now, same) {
		t.Error("an upgrade that cannot work takes pods away")
	}
	t.Log("an upgrade whose pods are refused: the old ones stay")

	r.must(t, "rollback", "1", "--wait", "--timeout=2m")
	r.isReady(t) // helm does not wait until the last old pod has gone
	back := r.pods(t)
	r.replaced(t, changed, back)
	if got := r.variable(t, "LOGUX_BACKEND_HOLD"); got != "" {
		t.Errorf("after the rollback the setting is still %q", got)
	}
	if n := least(); n < replicas {
		t.Errorf("while it was rolled back %d pods were available, want %d", n, replicas)
	}
	t.Logf("rolled back: other pods, never fewer than %d", replicas)

	if now := r.secret(t); !maps.Equal(made, now) {
		t.Error("what was made by chance has changed")
	}
	r.remove(t, before)
	t.Log("removed: nothing is left")
}

func same(a, b corev1.Pod) bool { return a.UID == b.UID }

// replaced says whether there are as many pods as before, and none of those.
func (r *release) replaced(t *testing.T, before, after map[string]corev1.Pod) {
	t.Helper()
	if len(before) != len(after) {
		t.Errorf("%d pods became %d", len(before), len(after))
	}
	for name := range after {
		if _, is := before[name]; is {
			t.Errorf("%s was not replaced", name)
		}
	}
}

// secret is the chart's own.
func (r *release) secret(t *testing.T) map[string]string {
	t.Helper()
	s, err := r.client.CoreV1().Secrets(r.namespace).Get(t.Context(), r.deployment(t).Name, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	texts := make(map[string]string)
	for key, value := range s.Data {
		texts[key] = string(value)
	}
	return texts
}

// variable is the value of one of the environment variables that new pods get.
func (r *release) variable(t *testing.T, name string) string {
	t.Helper()
	for _, v := range r.deployment(t).Spec.Template.Spec.Containers[0].Env {
		if v.Name == name {
			return v.Value
		}
	}
	return ""
}

// watchAvailable watches how many pods are available, until the function that it returns is called, which says how few were.
func (r *release) watchAvailable(t *testing.T) func() int {
	t.Helper()
	return r.watchPods(t, func(s appsv1.DeploymentStatus) int32 { return s.AvailableReplicas })
}

// watchReady watches how many are ready: that is what a budget counts, not for how long they have been.
func (r *release) watchReady(t *testing.T) func() int {
	t.Helper()
	return r.watchPods(t, func(s appsv1.DeploymentStatus) int32 { return s.ReadyReplicas })
}

func (r *release) watchPods(t *testing.T, number func(appsv1.DeploymentStatus) int32) func() int {
	t.Helper()
	watch, err := r.client.AppsV1().Deployments(r.namespace).Watch(t.Context(), r.selector("proxy"))
	if err != nil {
		t.Fatal(err)
	}
	least, done := 1<<30, make(chan struct{})
	go func() {
		defer close(done)
		for event := range watch.ResultChan() {
			if d, is := event.Object.(*appsv1.Deployment); is {
				least = min(least, int(number(d.Status)))
			}
		}
	}()
	return func() int {
		watch.Stop()
		select {
		case <-done:
		case <-time.After(time.Minute):
			t.Fatal("the watch does not end")
		}
		return least
	}
}
