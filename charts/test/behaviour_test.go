package charttest

import (
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/dynamic/fake"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/yaml"
)

// stored is a cluster that has some objects already.
type stored struct{ client dynamic.Interface }

func newStored(objects ...runtime.Object) stored {
	return stored{fake.NewSimpleDynamicClient(scheme.Scheme, objects...)}
}

// GetClientFor implements engine.ClientProvider for the kinds that the chart looks up.
func (s stored) GetClientFor(apiVersion, kind string) (dynamic.NamespaceableResourceInterface, bool, error) {
	version, err := schema.ParseGroupVersion(apiVersion)
	return s.client.Resource(version.WithResource(strings.ToLower(kind) + "s")), true, err
}

const made = `
backend: {url: "http://app.shop.svc:3000/logux"}
redis: {development: {enabled: true}}
`

// What is made by chance is made well, once, and kept by upgrades; the pods are not restarted for it.
func TestMadeSecretsAreKept(t *testing.T) {
	files, err := render(t, cluster{lookup: newStored()}, readValues(t, made))
	if err != nil {
		t.Fatal(err)
	}
	first := find[corev1.Secret](t, files, "Secret", "shop-logux-proxy")
	first.TypeMeta = metav1.TypeMeta{APIVersion: "v1", Kind: "Secret"}
	for name, length := range map[string]int{"control-secret": 32, "redis-password": 32, "gossip-key": 44} {
		if len(first.Data[name]) != length {
			t.Errorf("%s has %d characters, want %d", name, len(first.Data[name]), length)
		}
	}
	upgraded, err := render(t, cluster{lookup: newStored(first)}, readValues(t, made))
	if err != nil {
		t.Fatal(err)
	}
	second := find[corev1.Secret](t, upgraded, "Secret", "shop-logux-proxy")
	for name := range first.Data {
		if string(first.Data[name]) != string(second.Data[name]) {
			t.Errorf("the upgrade changes %s", name)
		}
	}
	sum := func(files map[string]string) string {
		return deployment(t, files).Spec.Template.Annotations["checksum/secrets"]
	}
	if sum(files) != sum(upgraded) {
		t.Error("the upgrade restarts the pods for nothing")
	}
	another, err := render(t, cluster{lookup: newStored()}, readValues(t, made))
	if err != nil {
		t.Fatal(err)
	}
	if third := find[corev1.Secret](t, another, "Secret", "shop-logux-proxy"); string(third.Data["gossip-key"]) == string(first.Data["gossip-key"]) {
		t.Error("two installations have the same key")
	}
}

// With autoscaling no number of pods is written down, except where one was before: if it went, Kubernetes would make it 1.
func TestReplicasWithAutoscaling(t *testing.T) {
	const scaled = `{redis: {hosts: [r]}, autoscaling: {enabled: true}}`
	upgrade := func(live *appsv1.Deployment, values string) *appsv1.Deployment {
		objects := newStored()
		if live != nil {
			live.TypeMeta = metav1.TypeMeta{APIVersion: "apps/v1", Kind: "Deployment"}
			objects = newStored(live)
		}
		files, err := render(t, cluster{lookup: objects}, readValues(t, fixed, values))
		if err != nil {
			t.Fatal(err)
		}
		return deployment(t, files)
	}
	born := upgrade(nil, scaled)
	born.Spec.Replicas = ptr.To[int32](7) // by the autoscaler
	for i := range 2 {
		if got := upgrade(born, scaled).Spec.Replicas; got != nil {
			t.Errorf("upgrade %d goes to %d pods", i, *got)
		}
	}
	live := upgrade(nil, `{redis: {hosts: [r]}, replicas: 5}`)
	if none := upgrade(nil, `replicas: 0`).Spec.Replicas; none == nil || *none != 0 {
		t.Errorf("no pods become %d", ptr.Deref(none, -1))
	}
	for i, running := range []int32{5, 8, 3} {
		live.Spec.Replicas = ptr.To(running)
		live = upgrade(live, scaled)
		if got := live.Spec.Replicas; got == nil || *got != running {
			t.Errorf("upgrade %d goes to %d pods, want %d", i, ptr.Deref(got, -1), running)
		}
	}
	if got := upgrade(live, `{redis: {hosts: [r]}, replicas: 4}`).Spec.Replicas; *got != 4 {
		t.Errorf("without autoscaling there are %d pods, want 4", *got)
	}
}

// Pods are restarted when a secret that they read at their start changes, and not for a gossip key, which they read again.
func TestChecksum(t *testing.T) {
	const values = `
backend: {url: "http://app.shop.svc:3000/logux"}
controlSecret: {existingSecret: control}
redis: {existingSecret: redis}
gossip: {existingSecret: gossip}
`
	sum := func(control, gossip string) string {
		secret := func(name, value string) *corev1.Secret {
			return &corev1.Secret{
				TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "Secret"},
				ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "web"}, Data: map[string][]byte{"x": []byte(value)},
			}
		}
		files, err := render(t, cluster{lookup: newStored(secret("control", control), secret("redis", "r"), secret("gossip", gossip))}, readValues(t, values))
		if err != nil {
			t.Fatal(err)
		}
		return deployment(t, files).Spec.Template.Annotations["checksum/secrets"]
	}
	if sum("a", "k") == sum("b", "k") {
		t.Error("the pods keep the old secret")
	}
	if sum("a", "k") != sum("a", "l") {
		t.Error("the pods are restarted for a gossip key")
	}
}

// The grace period is the sum of what a drain takes, and so is the pace of rollouts and of scaling in.
func TestDrainTimes(t *testing.T) {
	for _, c := range []struct {
		drain, version      string
		ready               int32
		grace, preStop, pod int64
	}{
		{`{}`, "", 32, 47, 2, 120},
		{`{}`, "v1.29.4", 30, 45, 0, 120},
		{`{preStop: 0s}`, "", 30, 45, 0, 120},
		{`{preStop: 1500ms, grace: 1m30s, time: 2m, margin: 0.5m}`, "", 212, 242, 2, 242},
		{`{grace: 0s, time: 1h}`, "", 3602, 3617, 2, 1800},
	} {
		values := readValues(t, fixed, "{redis: {hosts: [r]}, autoscaling: {enabled: true}, drain: "+c.drain+"}")
		files, err := render(t, cluster{version: c.version}, values)
		if err != nil {
			t.Fatal(err)
		}
		d := deployment(t, files)
		pod := d.Spec.Template.Spec
		if got := *pod.TerminationGracePeriodSeconds; got != c.grace {
			t.Errorf("%s: grace period %d, want %d", c.drain, got, c.grace)
		}
		if d.Spec.MinReadySeconds != c.ready {
			t.Errorf("%s: minReadySeconds %d, want %d", c.drain, d.Spec.MinReadySeconds, c.ready)
		}
		preStop := int64(0)
		if l := pod.Containers[0].Lifecycle; l != nil {
			preStop = l.PreStop.Sleep.Seconds
		}
		if preStop != c.preStop {
			t.Errorf("%s on %s: preStop %d, want %d", c.drain, c.version, preStop, c.preStop)
		}
		hpa := find[autoscalingv2.HorizontalPodAutoscaler](t, files, "HorizontalPodAutoscaler", "shop-logux-proxy")
		if got := hpa.Spec.Behavior.ScaleDown.Policies[0]; got.Value != 1 || int64(got.PeriodSeconds) != c.pod {
			t.Errorf("%s: in by %d pods each %d s, want 1 each %d s", c.drain, got.Value, got.PeriodSeconds, c.pod)
		}
	}
}

// An ALB takes up to an hour for a target that goes.
func TestLoadBalancerDelay(t *testing.T) {
	for drain, want := range map[string]string{`{}`: "47", `{time: 1h}`: "3600"} {
		files := mustRender(t, readValues(t, fixed, `{ingress: {enabled: true, controller: alb}, drain: `+drain+`}`))
		ingress := find[networkingv1.Ingress](t, files, "Ingress", "shop-logux-proxy")
		got := ingress.Annotations["alb.ingress.kubernetes.io/target-group-attributes"]
		if !strings.HasPrefix(got, "deregistration_delay.timeout_seconds="+want+",") {
			t.Errorf("%s: %s, want %s s", drain, got, want)
		}
	}
}

// GOMEMLIMIT is the part of the limit that was asked for.
func TestGoMemoryLimit(t *testing.T) {
	for limit, want := range map[string]int64{`512Mi`: 483183820, `1Gi`: 966367641, `1.5G`: 1350000000, `2000000k`: 1800000000, `1000000000`: 900000000} {
		d := deployment(t, mustRender(t, readValues(t, fixed, `resources: {limits: {memory: `+limit+`}}`)))
		if got := variable(d, "GOMEMLIMIT"); got != strconv.FormatInt(want, 10) {
			t.Errorf("GOMEMLIMIT is %s with %s, want %d", got, limit, want)
		}
	}
}

// X-Forwarded-For is believed by itself only when nobody from outside reaches the Service but through an ingress controller.
func TestTrustedProxies(t *testing.T) {
	private := "10.0.0.0/8,172.16.0.0/12,192.168.0.0/16,100.64.0.0/10,fc00::/7"
	for values, want := range map[string]string{
		`{}`: "",
		`ingress: {enabled: true, hosts: [a.example.com]}`:                              private,
		`httpRoute: {enabled: true, parentRefs: [{name: g}]}`:                           private,
		`{ingress: {enabled: true, hosts: [a.example.com]}, service: {type: NodePort}}`: "",
		`{ingress: {enabled: true, hosts: [a.example.com]}, trustedProxies: []}`:        "",
		`{trustedProxies: [192.0.2.1/32, 192.0.2.2/32], service: {type: LoadBalancer}}`: "192.0.2.1/32,192.0.2.2/32",
	} {
		d := deployment(t, mustRender(t, readValues(t, fixed, values)))
		if got := variable(d, "LOGUX_TRUSTED_PROXIES"); got != want {
			t.Errorf("%s: %q, want %q", values, got, want)
		}
	}
}

// Every setting of the proxy is either made from values, or may stand in the value settings.
func TestSettings(t *testing.T) {
	text, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, row := range regexp.MustCompile("(?m)^\\| `(LOGUX_[A-Z_]+)` \\|").FindAllStringSubmatch(string(text), -1) {
		all = append(all, row[1])
	}
	var s struct {
		Properties struct {
			Settings struct {
				PropertyNames struct {
					Enum []string `json:"enum"`
				} `json:"propertyNames"`
			} `json:"settings"`
		} `json:"properties"`
	}
	if err := yaml.Unmarshal(loadChart(t).Schema, &s); err != nil {
		t.Fatal(err)
	}
	known := append(slices.Clone(s.Properties.Settings.PropertyNames.Enum), byChart...)
	if len(all) < 40 {
		t.Fatalf("the README's table has %d settings", len(all))
	}
	for _, name := range all {
		if !slices.Contains(known, name) {
			t.Errorf("%s is new: add it to settings in values.schema.json, or make it from values", name)
		}
	}
	for _, name := range known {
		if !slices.Contains(all, name) {
			t.Errorf("%s is no setting any more", name)
		}
	}
}

// byChart are the settings that the chart makes from values of its own.
var byChart = []string{
	"LOGUX_HOST", "LOGUX_PORT", "LOGUX_ID", "LOGUX_ENV", "LOGUX_KEY", "LOGUX_CERT", "LOGUX_ORIGINS", "LOGUX_TRUSTED_PROXIES",
	"LOGUX_BACKEND", "LOGUX_BACKEND_CA", "LOGUX_BACKEND_CERT", "LOGUX_BACKEND_KEY",
	"LOGUX_CONTROL_SECRET", "LOGUX_CONTROL_SECRET_FILE", "LOGUX_CONTROL_MASK", "LOGUX_CONTROL_ADDR", "LOGUX_CONTROL_PATH",
	"LOGUX_REDIS", "LOGUX_REDIS_FILE", "LOGUX_GOSSIP_ADDR", "LOGUX_GOSSIP_ADVERTISE", "LOGUX_JOIN", "LOGUX_GOSSIP_KEY",
	"LOGUX_GOSSIP_KEY_FILE", "LOGUX_GOSSIP_PLAIN", "LOGUX_CLUSTER", "LOGUX_ADMIN_ADDR", "LOGUX_DRAIN_GRACE", "LOGUX_DRAIN_TIME",
	"LOGUX_TRACE", "LOGUX_TRACE_RATIO",
}
