//go:build cluster

package cluster

import (
	"bytes"
	"fmt"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// A release is the chart under a name in a namespace of its own.
type release struct {
	*plane
	name, namespace string
	values          string // a file, or ""
}

// always is what every release is given; its values win.
const always = `backend: {url: "http://app.shop.svc:3000/logux"}`

// run runs one of the programs, and returns what it wrote.
func (p *plane) run(t *testing.T, input, name string, args ...string) (string, error) {
	t.Helper()
	command := exec.CommandContext(t.Context(), filepath.Join(*bin, name), append(args, "--kubeconfig="+p.kubeconfig)...)
	var out, wrong bytes.Buffer
	command.Stdin, command.Stdout, command.Stderr = strings.NewReader(input), &out, &wrong
	command.Env = []string{"HOME=" + p.dir, "PATH=/usr/bin:/bin"} // neither reads somebody's settings
	if err := command.Run(); err != nil {
		return out.String(), fmt.Errorf("%s %s: %w: %s", name, args[0], err, wrong.String())
	}
	return out.String(), nil
}

// helm runs `helm VERB NAME …` with the chart and values, where the verb takes them.
func (r *release) helm(t *testing.T, verb string, args ...string) (string, error) {
	t.Helper()
	all := []string{verb, r.name, "--namespace=" + r.namespace}
	if slices.Contains([]string{"install", "upgrade", "template"}, verb) {
		all = []string{verb, r.name, *chart, "--namespace=" + r.namespace, "--values=" + filepath.Join(r.dir, "always.yaml")}
		if r.values != "" {
			all = append(all, "--values="+r.values)
		}
	}
	return r.run(t, "", "helm", append(all, args...)...)
}

// must is helm that ends the test on errors.
func (r *release) must(t *testing.T, verb string, args ...string) string {
	t.Helper()
	out, err := r.helm(t, verb, args...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// selector finds what belongs to the release.
func (r *release) selector(component string) metav1.ListOptions {
	selector := "app.kubernetes.io/instance=" + r.name
	if component != "" {
		selector += ",app.kubernetes.io/component=" + component
	}
	return metav1.ListOptions{LabelSelector: selector}
}

// deployment is that of the proxy.
func (r *release) deployment(t *testing.T) *appsv1.Deployment {
	t.Helper()
	all, err := r.client.AppsV1().Deployments(r.namespace).List(t.Context(), r.selector("proxy"))
	if err != nil || len(all.Items) != 1 {
		t.Fatalf("%d Deployments: %v", len(all.Items), err)
	}
	return &all.Items[0]
}

// pods are those of the proxy that do not end, by name.
func (r *release) pods(t *testing.T) map[string]corev1.Pod {
	t.Helper()
	all, err := r.client.CoreV1().Pods(r.namespace).List(t.Context(), r.selector("proxy"))
	if err != nil {
		t.Fatal(err)
	}
	pods := make(map[string]corev1.Pod)
	for _, pod := range all.Items {
		if pod.DeletionTimestamp == nil {
			pods[pod.Name] = pod
		}
	}
	return pods
}

// isReady waits until every Deployment has the pods that it is to have, of its present kind, Ready on machines. A refused pod
// is told of by an event of its ReplicaSet only.
func (r *release) isReady(t *testing.T) {
	t.Helper()
	await(t, "the pods of "+r.name, time.Minute, func() error {
		all, err := r.client.AppsV1().Deployments(r.namespace).List(t.Context(), r.selector(""))
		if err != nil {
			return err
		}
		for _, d := range all.Items {
			if s := d.Status; s.ObservedGeneration < d.Generation || s.ReadyReplicas != *d.Spec.Replicas || s.UpdatedReplicas != *d.Spec.Replicas || s.Replicas != *d.Spec.Replicas {
				return fmt.Errorf("%s: %d of %d are ready; %s", d.Name, s.ReadyReplicas, *d.Spec.Replicas, r.complaints(t))
			}
		}
		return nil
	})
}

// complaints are the texts of warnings in the namespace.
func (r *release) complaints(t *testing.T) string {
	t.Helper()
	events, err := r.client.CoreV1().Events(r.namespace).List(t.Context(), metav1.ListOptions{FieldSelector: "type=Warning"})
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, e := range events.Items {
		if text := e.InvolvedObject.Kind + " " + e.InvolvedObject.Name + ": " + e.Message; !slices.Contains(all, text) {
			all = append(all, text)
		}
	}
	return strings.Join(all, "\n")
}

// inventory is what is in the namespace, except what comes and goes by itself.
func (r *release) inventory(t *testing.T) []string {
	t.Helper()
	kinds, err := r.client.Discovery().ServerPreferredNamespacedResources()
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, group := range kinds {
		version, err := schema.ParseGroupVersion(group.GroupVersion)
		if err != nil {
			t.Fatal(err)
		}
		for _, kind := range group.APIResources {
			// Endpoints are EndpointSlices once more, and warn of themselves.
			if !slices.Contains(kind.Verbs, "list") || kind.Kind == "Event" || kind.Kind == "Endpoints" {
				continue
			}
			objects, err := r.objects.Resource(version.WithResource(kind.Name)).Namespace(r.namespace).List(t.Context(), metav1.ListOptions{})
			if err != nil {
				t.Fatal(err)
			}
			for _, object := range objects.Items {
				all = append(all, kind.Kind+" "+object.GetName())
			}
		}
	}
	slices.Sort(all)
	return all
}

// remove uninstalls the release, after which the namespace is as it was before.
func (r *release) remove(t *testing.T, before []string) {
	t.Helper()
	r.must(t, "uninstall", "--wait", "--timeout=60s")
	await(t, "nothing but what was there", time.Minute, func() error {
		if after := r.inventory(t); !slices.Equal(before, after) {
			return fmt.Errorf("before %v, after %v", before, after)
		}
		return nil
	})
}
