package charttest

import (
	"context"
	"strings"
	"sync"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	kjson "k8s.io/apimachinery/pkg/runtime/serializer/json"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/pod-security-admission/api"
	"k8s.io/pod-security-admission/policy"
	"sigs.k8s.io/yaml"

	"logux-proxy/charts/test/crd"
)

// foreign are the kinds of other projects.
var foreign = sync.OnceValues(func() (*crd.Validator, error) {
	definitions, err := crd.Load(context.Background())
	if err != nil {
		return nil, err
	}
	return crd.NewValidator(definitions)
})

// decode reads an object into its type, and refuses fields that the type has not. Objects of other projects' kinds, which have
// none here, are checked by their definition: what it does not allow is refused, and nil is returned.
func decode(t *testing.T, text string) runtime.Object {
	t.Helper()
	validator, err := foreign()
	if err != nil {
		t.Fatal(err)
	}
	asJSON, err := yaml.YAMLToJSONStrict([]byte(text))
	if err != nil {
		t.Fatalf("%v in:\n%s", err, text)
	}
	var object unstructured.Unstructured
	if err := object.UnmarshalJSON(asJSON); err != nil {
		t.Fatalf("%v in:\n%s", err, text)
	}
	if id := object.GroupVersionKind(); validator.Knows(id) {
		if err := validator.Validate(t.Context(), id, object.Object); err != nil {
			t.Fatalf("%v in:\n%s", err, text)
		}
		return nil
	}
	strict := kjson.NewSerializerWithOptions(kjson.DefaultMetaFactory, scheme.Scheme, scheme.Scheme, kjson.SerializerOptions{Yaml: true, Strict: true})
	typed, _, err := strict.Decode([]byte(text), nil, nil)
	if err != nil {
		t.Fatalf("%v in:\n%s", err, text)
	}
	return typed
}

// podOf is what the object runs, if it runs something.
func podOf(object runtime.Object) (*metav1.ObjectMeta, *corev1.PodSpec) {
	switch o := object.(type) {
	case *appsv1.Deployment:
		return &o.Spec.Template.ObjectMeta, &o.Spec.Template.Spec
	case *corev1.Pod:
		return &o.ObjectMeta, &o.Spec
	}
	return nil, nil
}

// Every object is one that Kubernetes knows, field by field, is in the release's namespace, and every pod passes Pod
// Security "restricted" and has no token.
func TestObjects(t *testing.T) {
	evaluator, err := policy.NewEvaluator(policy.DefaultChecks(), nil)
	if err != nil {
		t.Fatal(err)
	}
	restricted := api.LevelVersion{Level: api.LevelRestricted, Version: api.LatestVersion()}
	for name, text := range cases(t) {
		t.Run(name, func(t *testing.T) {
			names := make(map[string]bool)
			for _, text := range objects(mustRender(t, readValues(t, fixed, text))) {
				var any metav1.PartialObjectMetadata
				if err := yaml.Unmarshal([]byte(text), &any); err != nil {
					t.Fatal(err)
				}
				id := any.Kind + " " + any.Name
				if any.Namespace != "web" && any.Namespace != "grafana" || any.Name == "" || len(any.Name) > 63 || names[id] {
					t.Errorf("%s is twice, or not in the namespace", id)
				}
				names[id] = true
				meta, pod := podOf(decode(t, text))
				if pod == nil {
					continue
				}
				if result := policy.AggregateCheckResults(evaluator.EvaluatePod(restricted, meta, pod)); !result.Allowed {
					t.Errorf("%s is not restricted: %s", id, result.ForbiddenDetail())
				}
				if pod.AutomountServiceAccountToken == nil || *pod.AutomountServiceAccountToken {
					t.Errorf("%s has a token", id)
				}
				if pod.EnableServiceLinks == nil || *pod.EnableServiceLinks {
					t.Errorf("%s gets LOGUX_PORT from a Service named logux", id)
				}
			}
		})
	}
}

// find returns the object of a type and name.
func find[T any](t *testing.T, files map[string]string, kind, name string) *T {
	t.Helper()
	for _, text := range objects(files) {
		var meta metav1.PartialObjectMetadata
		if err := yaml.Unmarshal([]byte(text), &meta); err != nil {
			t.Fatal(err)
		}
		if meta.Kind == kind && meta.Name == name {
			object := new(T)
			if err := yaml.UnmarshalStrict([]byte(text), object); err != nil {
				t.Fatal(err)
			}
			return object
		}
	}
	t.Fatalf("no %s %s in\n%s", kind, name, strings.Join(objects(files), "---\n"))
	return nil
}

// deployment is that of the proxy.
func deployment(t *testing.T, files map[string]string) *appsv1.Deployment {
	t.Helper()
	return find[appsv1.Deployment](t, files, "Deployment", "shop-logux-proxy")
}

// variable is the value of one of the proxy's environment variables; "" when it has none.
func variable(d *appsv1.Deployment, name string) string {
	for _, v := range d.Spec.Template.Spec.Containers[0].Env {
		if v.Name == name {
			return v.Value
		}
	}
	return ""
}
