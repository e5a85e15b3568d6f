package charttest

import (
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
)

// Pods that try to reach a node: of its namespace, or of the one named.
var (
	stranger   = networkPod{"other", map[string]string{"app": "x"}}
	neighbour  = networkPod{"web", map[string]string{"app": "x"}}
	prometheus = networkPod{"monitoring", map[string]string{"app": "prometheus"}}
	controller = networkPod{"ingress-nginx", map[string]string{"app": "nginx"}}
	sibling    = networkPod{"web", map[string]string{
		"app.kubernetes.io/name": "logux-proxy", "app.kubernetes.io/instance": "shop", "app.kubernetes.io/component": "proxy",
	}}
)

type networkPod struct {
	namespace string
	labels    labels.Set
}

// Each port is open for those whom it is for, and `helm test` gets through whatever the values say.
func TestNetworkPolicy(t *testing.T) {
	everybody := []networkPod{stranger, neighbour, prometheus, controller, sibling}
	for _, c := range []struct {
		values string
		open   map[string][]networkPod
	}{
		{`{}`, map[string][]networkPod{
			"websocket": everybody, "control": {neighbour, sibling}, "admin": {neighbour, prometheus, sibling},
			"gossip": {sibling}, "gossip-udp": {sibling},
		}},
		{`{networkPolicy: {websocket: [{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: ingress-nginx}}}], control: [], admin: []}}`, map[string][]networkPod{
			"websocket": {controller}, "gossip": {sibling}, "gossip-udp": {sibling},
		}},
	} {
		files := mustRender(t, readValues(t, fixed, `redis: {hosts: [r]}`, c.values))
		policy := find[networkingv1.NetworkPolicy](t, files, "NetworkPolicy", "shop-logux-proxy")
		test := networkPod{"web", find[corev1.Pod](t, files, "Pod", "shop-logux-proxy-test").Labels}
		for _, port := range []string{"websocket", "control", "admin", "gossip", "gossip-udp"} {
			for _, from := range everybody {
				want := slices.ContainsFunc(c.open[port], func(p networkPod) bool { return p.namespace == from.namespace && labels.Equals(p.labels, from.labels) })
				if got := reaches(t, policy, from, port); got != want {
					t.Errorf("%s: %v reaches %s: %v, want %v", c.values, from, port, got, want)
				}
			}
			if want := port != "gossip" && port != "gossip-udp"; reaches(t, policy, test, port) != want {
				t.Errorf("%s: the pod of helm test reaches %s: %v", c.values, port, !want)
			}
		}
	}
	files := mustRender(t, readValues(t, fixed, `{tests: {enabled: false}, networkPolicy: {control: [], admin: []}}`))
	policy := find[networkingv1.NetworkPolicy](t, files, "NetworkPolicy", "shop-logux-proxy")
	if len(policy.Spec.Ingress) != 1 {
		t.Errorf("without anybody there are %d rules, want that of the WebSocket", len(policy.Spec.Ingress))
	}
}

// reaches says whether a policy of the namespace web lets a pod reach a named port.
func reaches(t *testing.T, policy *networkingv1.NetworkPolicy, from networkPod, port string) bool {
	t.Helper()
	matches := func(selector *metav1.LabelSelector, set labels.Set) bool {
		s, err := metav1.LabelSelectorAsSelector(selector)
		if err != nil {
			t.Fatal(err)
		}
		return s.Matches(set)
	}
	for _, rule := range policy.Spec.Ingress {
		if !slices.ContainsFunc(rule.Ports, func(p networkingv1.NetworkPolicyPort) bool { return p.Port.String() == port }) {
			continue
		}
		if len(rule.From) == 0 {
			return true
		}
		for _, peer := range rule.From {
			near := peer.NamespaceSelector == nil && from.namespace == "web" ||
				peer.NamespaceSelector != nil && matches(peer.NamespaceSelector, labels.Set{"kubernetes.io/metadata.name": from.namespace})
			if near && (peer.PodSelector == nil || matches(peer.PodSelector, from.labels)) {
				return true
			}
		}
	}
	return false
}
