//go:build cluster

package cluster

import (
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Kubernetes takes one pod at a time on purpose: the second eviction is refused until the first pod is back, and machines are
// emptied nevertheless.
func (p *plane) testDisruption(t *testing.T) {
	const replicas = 4
	r := &release{p, "shop", p.namespace(t, "disruption"), ""}
	before := r.inventory(t)
	r.must(t, "install", "--wait", "--timeout=2m", "--set", "redis.hosts={redis:6379},replicas=4,minReadySeconds=1")
	r.allowsDisruption(t)

	names := slices.Sorted(maps.Keys(r.pods(t)))
	if err := r.evict(t, names[0]); err != nil {
		t.Fatalf("the first eviction: %v", err)
	}
	second := r.evict(t, names[1])
	if !apierrors.IsTooManyRequests(second) {
		t.Errorf("the second eviction: %v, want 429", second)
	}
	t.Logf("two evictions: the first is done, the second %v", second)
	r.allowsDisruption(t)

	least, began := r.watchReady(t), time.Now()
	emptied := []string{"machine-0", "machine-1"}
	if _, err := p.run(t, "", "kubectl", append([]string{"drain", "--delete-emptydir-data", "--timeout=3m"}, emptied...)...); err != nil {
		t.Fatal(err)
	}
	took := time.Since(began)
	for name, pod := range r.pods(t) {
		if slices.Contains(emptied, pod.Spec.NodeName) {
			t.Errorf("%s is still on %s", name, pod.Spec.NodeName)
		}
	}
	r.isReady(t)
	if n := least(); n < replicas-1 {
		t.Errorf("while machines were emptied %d pods were ready, want %d", n, replicas-1)
	}
	t.Logf("two of %d machines are emptied after %.0f s, with never fewer than %d of %d pods ready", machines, took.Seconds(), replicas-1, replicas)
	for _, machine := range emptied {
		if _, err := p.run(t, "", "kubectl", "uncordon", machine); err != nil {
			t.Fatal(err)
		}
	}
	r.remove(t, before)
}

func (r *release) evict(t *testing.T, pod string) error {
	t.Helper()
	return r.client.PolicyV1().Evictions(r.namespace).Evict(t.Context(), &policyv1.Eviction{ObjectMeta: metav1.ObjectMeta{Name: pod, Namespace: r.namespace}})
}

// allowsDisruption waits until the budget lets a pod go.
func (r *release) allowsDisruption(t *testing.T) {
	t.Helper()
	await(t, "the budget", time.Minute, func() error {
		all, err := r.client.PolicyV1().PodDisruptionBudgets(r.namespace).List(t.Context(), metav1.ListOptions{})
		if err != nil {
			return err
		}
		if len(all.Items) != 1 || all.Items[0].Status.DisruptionsAllowed != 1 || all.Items[0].Status.ObservedGeneration != all.Items[0].Generation {
			return fmt.Errorf("%d budgets, %v", len(all.Items), all.Items)
		}
		return nil
	})
}
