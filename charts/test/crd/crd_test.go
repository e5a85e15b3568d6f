package crd

import (
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"
)

// What an API server would refuse is refused: unknown fields, wrong types and texts, and what rules compare.
func TestValidate(t *testing.T) {
	definitions, err := Load(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	v, err := NewValidator(definitions)
	if err != nil {
		t.Fatal(err)
	}
	const route = `{apiVersion: gateway.networking.k8s.io/v1, kind: HTTPRoute, metadata: {name: a}, spec: `
	const scaled = `{apiVersion: keda.sh/v1alpha1, kind: ScaledObject, metadata: {name: a}, spec: `
	const monitor = `{apiVersion: monitoring.coreos.com/v1, kind: ServiceMonitor, metadata: {name: a}, spec: `
	for _, c := range []struct{ object, want string }{
		{route + `{parentRefs: [{name: g}], rules: [{backendRefs: [{name: s, port: 80}], timeouts: {request: 0s, backendRequest: 0s}}]}}`, ""},
		{route + `{rules: [{timeouts: {request: 1s, backendRequest: 2s}}]}}`, "backendRequest timeout cannot be longer"},
		{route + `{rules: [{timeouts: {request: forever}}]}}`, "should match"},
		{route + `{rules: [{timeout: {request: 1s}}]}}`, "unknown field spec.rules[0].timeout"},
		{scaled + `{scaleTargetRef: {name: d}, triggers: [{type: cpu, metadata: {value: "70"}}]}}`, ""},
		{scaled + `{scaleTargetRef: {name: d}, triggers: [{type: cpu, metadata: {value: 70}}]}}`, "must be of type string"},
		{scaled + `{scaleTargetRef: {name: d}, minReplica: 2, triggers: [{type: cpu, metadata: {}}]}}`, "unknown field spec.minReplica"},
		{monitor + `{selector: {}, endpoints: [{port: metrics, interval: 15s}]}}`, ""},
		{monitor + `{selector: {}, endpoints: [{port: metrics, interval: often}]}}`, "should match"},
		{monitor + `{endpoints: [{port: metrics}]}}`, "selector"},
	} {
		text, err := yaml.YAMLToJSONStrict([]byte(c.object))
		if err != nil {
			t.Fatal(err)
		}
		var object unstructured.Unstructured
		if err := object.UnmarshalJSON(text); err != nil {
			t.Fatal(err)
		}
		err = v.Validate(t.Context(), object.GroupVersionKind(), object.Object)
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", c.object, err, c.want)
		}
	}
	var unknown unstructured.Unstructured
	unknown.SetAPIVersion("v1")
	unknown.SetKind("Pod")
	if id := unknown.GroupVersionKind(); v.Knows(id) || v.Validate(t.Context(), id, unknown.Object) == nil {
		t.Error("a Pod is of another project")
	}
}
