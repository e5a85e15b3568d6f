package charttest

import (
	"strings"
	"testing"

	"sigs.k8s.io/yaml"
)

// What cannot work is refused before anything is installed, and the message names the value.
func TestRefusals(t *testing.T) {
	for _, c := range []struct{ values, want string }{
		// by values.schema.json
		{`replica: 3`, "replica"},
		{`replicas: many`, "replicas"},
		{`replicas: -1`, "replicas"},
		{`backend: {url: "app:3000"}`, "url"},
		{`controlSecret: {value: short}`, "controlSecret"},
		{`control: {mask: [anybody]}`, "mask"},
		{`control: {mask: []}`, "mask"},
		{`settings: {LOGUX_BACKEND_HOOLD: 1s}`, "LOGUX_BACKEND_HOOLD"},
		{`tracing: {url: "otel-collector:4318"}`, "tracing/url"},
		{`tracing: {ratio: 1.5}`, "tracing/ratio"},
		{`settings: {LOGUX_REDIS: "redis://redis"}`, "LOGUX_REDIS"},
		{`redis: {url: "http://redis"}`, "url"},
		{`redis: {kind: master}`, "kind"},
		{`redis: {hosts: ["redis://redis:6379"]}`, "hosts"},
		{`gossip: {value: "not a key"}`, "value"},
		{`drain: {time: 25}`, "time"},
		{`drain: {time: 25 seconds}`, "time"},
		{`ports: {websocket: 80}`, "websocket"},
		{`ports: {metrics: 9090}`, "metrics"},
		{`service: {type: ExternalName}`, "type"},
		{`service: {port: 70000}`, "port"},
		{`ingress: {controller: envoy}`, "controller"},
		{`ingress: {annotations: {timeout: 60}}`, "annotations"},
		{`ingress: {hosts: ["https://example.com"]}`, "hosts"},
		{`httpRoute: {timeouts: {request: forever}}`, "request"},
		{`autoscaling: {minReplicas: 0}`, "minReplicas"},
		{`autoscaling: {kind: vpa}`, "kind"},
		{`podDisruptionBudget: {maxUnavailable: half}`, "maxUnavailable"},
		{`networkPolicy: {websocket: [{cidr: 10.0.0.0/8}]}`, "cidr"},
		{`image: {digest: latest}`, "digest"},
		{`origins: [example.com]`, "origins"},
		{`resources: {memory: 1Gi}`, "memory"},
		{`metrics: {serviceMonitor: {interval: 15}}`, "interval"},
		{`extraEnv: [{value: x}]`, "name"},
		// by templates
		{`backend: {url: ""}`, "backend.url is required"},
		{`replicas: 2`, "needs Redis"},
		{`autoscaling: {enabled: true}`, "needs Redis"},
		{`redis: {hosts: [a], url: "redis://b"}`, "redis.url and redis.hosts are both set"},
		{`redis: {hosts: [a], development: {enabled: true}}`, "redis.hosts and redis.development.enabled are both set"},
		{`redis: {hosts: [a, b]}`, "redis.kind is standalone"},
		{`redis: {hosts: [a], kind: cluster, database: 1}`, "database"},
		{`redis: {hosts: [a], password: x, passwordSecret: {name: pass}}`, "redis.passwordSecret"},
		{`redis: {hosts: [a], kind: sentinel, password: x, sentinel: {passwordSecret: {name: pass}}}`, "put both into Secrets"},
		{`redis: {hosts: [a], username: x}`, "without a password"},
		{`redis: {hosts: [a], tls: {existingSecret: x}}`, "redis.tls.enabled"},
		{`controlSecret: {existingSecret: x}`, "controlSecret.existingSecret"},
		{`gossip: {existingSecret: x}`, "gossip.existingSecret"},
		{`backend: {tls: {existingSecret: x}}`, "not https://"},
		{`podDisruptionBudget: {maxUnavailable: 0}`, "podDisruptionBudget.maxUnavailable"},
		{`podDisruptionBudget: {maxUnavailable: 0%}`, "podDisruptionBudget.maxUnavailable"},
		{`podDisruptionBudget: {minAvailable: 1}`, "podDisruptionBudget.minAvailable"},
		{`{redis: {hosts: [a]}, replicas: 3, podDisruptionBudget: {minAvailable: 80%}}`, "podDisruptionBudget.minAvailable"},
		{`{redis: {hosts: [a]}, autoscaling: {enabled: true, minReplicas: 3}, podDisruptionBudget: {minAvailable: 3}}`, "podDisruptionBudget.minAvailable"},
		{`{redis: {hosts: [a]}, autoscaling: {enabled: true, minReplicas: 5, maxReplicas: 4}}`, "more than autoscaling.maxReplicas"},
		{`{redis: {hosts: [a]}, autoscaling: {enabled: true, connections: 0, cpu: 0}}`, "looks at nothing"},
		{`{redis: {hosts: [a]}, autoscaling: {enabled: true}, resources: {requests: {cpu: null}}}`, "resources.requests.cpu"},
		{`{redis: {hosts: [a]}, autoscaling: {enabled: true, kind: keda}}`, "serverAddress"},
		{`metrics: {serviceMonitor: {enabled: true}, podMonitor: {enabled: true}}`, "come twice"},
		{`ingress: {enabled: true}`, "ingress.hosts is empty"},
		{`httpRoute: {enabled: true}`, "httpRoute.parentRefs is empty"},
		{`ports: {control: 31337}`, "are the same"},
		{`resources: {limits: {memory: lots}}`, "resources.limits.memory"},
	} {
		if _, err := render(t, cluster{}, readValues(t, fixed, c.values)); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want it to name %q", c.values, err, c.want)
		}
	}
}

// Every value has an entry in the schema, and no entry is without a value.
func TestSchemaIsWhole(t *testing.T) {
	c := loadChart(t)
	var schema map[string]any
	if err := yaml.Unmarshal(c.Schema, &schema); err != nil {
		t.Fatal(err)
	}
	compare(t, "", c.Values, schema)
}

func compare(t *testing.T, path string, values, schema map[string]any) {
	t.Helper()
	properties, _ := schema["properties"].(map[string]any)
	for name, value := range values {
		entry, found := properties[name].(map[string]any)
		if !found {
			t.Errorf("%s%s is not in the schema", path, name)
			continue
		}
		if inner, is := value.(map[string]any); is && len(inner) > 0 && entry["properties"] != nil {
			compare(t, path+name+".", inner, entry)
		}
	}
	for name := range properties {
		if _, found := values[name]; !found && name != "global" {
			t.Errorf("the schema's %s%s is no value", path, name)
		}
	}
}
