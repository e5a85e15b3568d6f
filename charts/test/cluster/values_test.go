//go:build cluster

package cluster

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// The API server takes every object of every value set, also those of other projects; the pods are admitted and get ready; and
// nothing is left when the release is removed.
func (p *plane) testValues(t *testing.T) {
	files, err := filepath.Glob("../testdata/*.values.yaml")
	if err != nil || len(files) < 12 {
		t.Fatalf("%d value sets: %v", len(files), err)
	}
	p.namespace(t, "grafana")
	for _, file := range files {
		set := strings.TrimSuffix(filepath.Base(file), ".values.yaml")
		t.Run(set, func(t *testing.T) {
			r := &release{p, "shop", p.namespace(t, "values-"+set), file}
			text := r.must(t, "template", "--kube-version="+p.version(t))
			out, err := p.run(t, text, "kubectl", "apply", "--dry-run=server", "--validate=strict", "--namespace="+r.namespace, "--filename=-")
			if err != nil {
				t.Fatal(err)
			}
			before, began := r.inventory(t), time.Now()
			r.must(t, "install")
			r.isReady(t)
			ready := time.Since(began)
			installed := r.inventory(t)
			for id, pod := range r.pods(t) {
				if slices.ContainsFunc(pod.Spec.Volumes, func(v corev1.Volume) bool {
					return v.Projected != nil && slices.ContainsFunc(v.Projected.Sources, func(s corev1.VolumeProjection) bool { return s.ServiceAccountToken != nil })
				}) {
					t.Errorf("%s has a token", id)
				}
			}
			for _, kind := range []string{"Role ", "RoleBinding "} {
				if slices.ContainsFunc(installed, func(id string) bool { return strings.HasPrefix(id, kind) }) {
					t.Errorf("there is a %s", kind)
				}
			}
			t.Logf("%d objects taken, %d pods ready after %.1f s", strings.Count(strings.TrimSpace(out), "\n")+1, len(r.pods(t)), ready.Seconds())
			r.remove(t, before)
		})
	}
}

func (p *plane) version(t *testing.T) string {
	t.Helper()
	v, err := p.client.Discovery().ServerVersion()
	if err != nil {
		t.Fatal(err)
	}
	return v.GitVersion
}

// A pod that is not restricted is refused here: otherwise the tests before would show nothing.
func (p *plane) refusesPods(t *testing.T, namespace string) {
	t.Helper()
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "root"}, Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "a", Image: "a"}}}}
	_, err := p.client.CoreV1().Pods(namespace).Create(t.Context(), pod, metav1.CreateOptions{})
	if err == nil || !strings.Contains(err.Error(), `violates PodSecurity "restricted:latest"`) {
		t.Errorf("a pod that is not restricted: %v", err)
	}
}
