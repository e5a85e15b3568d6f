//go:build cluster

package cluster

import (
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	custommetrics "k8s.io/metrics/pkg/apis/custom_metrics/v1beta2"
	metrics "k8s.io/metrics/pkg/apis/metrics/v1beta1"
)

const (
	customGroup   = "custom.metrics.k8s.io"
	resourceGroup = "metrics.k8s.io"
)

// startAdapter serves the two metrics APIs that autoscalers ask, from the metrics of the processes themselves, and tells the API
// server where. It is prometheus-adapter and metrics-server in small.
func (p *plane) startAdapter(t *testing.T, s *stage) {
	t.Helper()
	const service = "metrics-adapter"
	p.pki.issue(t, service, service+".kube-system.svc")
	cert, err := tls.LoadX509KeyPair(p.pki.path(service+".crt"), p.pki.path(service+".key"))
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewUnstartedServer(adapter(s))
	server.TLS = &tls.Config{Certificates: []tls.Certificate{cert}}
	server.StartTLS()
	t.Cleanup(server.Close)
	ca, err := os.ReadFile(p.pki.path("ca.crt"))
	if err != nil {
		t.Fatal(err)
	}
	port := server.Listener.Addr().(*net.TCPAddr).Port
	create(t, p.client.CoreV1().Services("kube-system"), &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Name: service},
		Spec:       corev1.ServiceSpec{Type: corev1.ServiceTypeExternalName, ExternalName: "localhost", Ports: []corev1.ServicePort{{Port: int32(port)}}},
	})
	for group, version := range map[string]string{customGroup: "v1beta2", resourceGroup: "v1beta1"} {
		text := fmt.Sprintf(`{apiVersion: apiregistration.k8s.io/v1, kind: APIService, metadata: {name: %[2]s.%[1]s}, spec: {group: %[1]s, version: %[2]s,
			groupPriorityMinimum: 100, versionPriority: 200, service: {name: %[3]s, namespace: kube-system, port: %[4]d}, caBundle: %[5]s}}`,
			group, version, service, port, base64.StdEncoding.EncodeToString(ca))
		if _, err := p.run(t, text, "kubectl", "apply", "--filename=-"); err != nil {
			t.Fatal(err)
		}
	}
	await(t, "the metrics APIs", time.Minute, func() error {
		for group, version := range map[string]string{customGroup: "v1beta2", resourceGroup: "v1beta1"} {
			if _, err := p.client.Discovery().ServerResourcesForGroupVersion(group + "/" + version); err != nil {
				return err
			}
		}
		return nil
	})
}

func adapter(s *stage) http.Handler {
	mux := http.NewServeMux()
	answer := func(w http.ResponseWriter, object any) {
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(object)
	}
	resources := func(group, version, name, kind string) {
		mux.HandleFunc("GET /apis/"+group+"/"+version, func(w http.ResponseWriter, _ *http.Request) {
			answer(w, metav1.APIResourceList{
				TypeMeta: metav1.TypeMeta{Kind: "APIResourceList", APIVersion: "v1"}, GroupVersion: group + "/" + version,
				APIResources: []metav1.APIResource{{Name: name, Namespaced: true, Kind: kind, Verbs: metav1.Verbs{"get"}}},
			})
		})
	}
	resources(customGroup, "v1beta2", "pods/logux_connections", "MetricValueList")
	resources(resourceGroup, "v1beta1", "pods", "PodMetrics")
	mux.HandleFunc("GET /apis/"+customGroup+"/v1beta2/namespaces/{namespace}/pods/{pod}/logux_connections", func(w http.ResponseWriter, r *http.Request) {
		list := custommetrics.MetricValueList{TypeMeta: metav1.TypeMeta{Kind: "MetricValueList", APIVersion: customGroup + "/v1beta2"}, Items: []custommetrics.MetricValue{}}
		for pod, l := range s.look(r.Context()) {
			list.Items = append(list.Items, custommetrics.MetricValue{
				DescribedObject: corev1.ObjectReference{Kind: "Pod", APIVersion: "v1", Namespace: r.PathValue("namespace"), Name: pod},
				Metric:          custommetrics.MetricIdentifier{Name: "logux_connections"}, Timestamp: metav1.Now(),
				Value: *resource.NewQuantity(l.connections, resource.DecimalSI),
			})
		}
		answer(w, list)
	})
	mux.HandleFunc("GET /apis/"+resourceGroup+"/v1beta1/namespaces/{namespace}/pods", func(w http.ResponseWriter, r *http.Request) {
		list := metrics.PodMetricsList{TypeMeta: metav1.TypeMeta{Kind: "PodMetricsList", APIVersion: resourceGroup + "/v1beta1"}, Items: []metrics.PodMetrics{}}
		for pod, l := range s.look(r.Context()) {
			usage := corev1.ResourceList{corev1.ResourceCPU: *resource.NewMilliQuantity(int64(l.cpu*1000), resource.DecimalSI)}
			list.Items = append(list.Items, metrics.PodMetrics{
				ObjectMeta: metav1.ObjectMeta{Namespace: r.PathValue("namespace"), Name: pod}, Timestamp: metav1.Now(),
				Window: metav1.Duration{Duration: lookPeriod}, Containers: []metrics.ContainerMetrics{{Name: "proxy", Usage: usage}},
			})
		}
		answer(w, list)
	})
	return mux
}
