//go:build cluster

package cluster

import (
	"context"
	"crypto/rand"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	schedulingv1 "k8s.io/api/scheduling/v1"
	apiextensionsclient "k8s.io/apiextensions-apiserver/pkg/client/clientset/clientset"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"logux-proxy/charts/test/crd"
)

// A plane is a control plane on loopback, which ends with the test.
type plane struct {
	dir        string
	pki        *authority
	kubeconfig string
	config     *rest.Config
	client     kubernetes.Interface
	objects    dynamic.Interface
}

const machines = 3

// startPlane starts one with three machines in two zones and the definitions of other projects' kinds.
func startPlane(t *testing.T) *plane {
	t.Helper()
	if _, err := os.Stat(filepath.Join(*bin, "kube-apiserver")); err != nil {
		t.Fatalf("%v (make chart-test builds it)", err)
	}
	dir := t.TempDir()
	p := &plane{dir: dir, pki: newAuthority(t, dir), kubeconfig: filepath.Join(dir, "kubeconfig")}
	write(t, filepath.Join(dir, "always.yaml"), always)
	p.pki.issue(t, "apiserver", "kubernetes.default.svc")
	p.pki.issue(t, "aggregator")
	p.pki.issueTokens(t)
	began := time.Now()
	address := p.startServer(t)
	for name, args := range map[string][]string{
		"kube-controller-manager": {
			"--service-account-private-key-file=" + p.pki.path("tokens.key"), "--root-ca-file=" + p.pki.path("ca.crt"), "--use-service-account-credentials",
			"--node-monitor-grace-period=1h", // nobody sends a machine's heartbeats
			// Autoscaling looks more often than each 15 s.
			"--horizontal-pod-autoscaler-sync-period=" + lookPeriod.String(),
		},
		"kube-scheduler": nil,
	} {
		args = append(args, "--kubeconfig="+p.kubeconfig, "--authentication-kubeconfig="+p.kubeconfig, "--authorization-kubeconfig="+p.kubeconfig,
			"--bind-address=127.0.0.1", "--secure-port="+freePort(t), "--leader-elect=false")
		p.start(t, filepath.Join(*bin, name), args...)
	}
	p.addMachines(t)
	p.define(t)
	t.Logf("a control plane at %s after %.1f s", address, time.Since(began).Seconds())
	return p
}

// startServer starts etcd and the API server, and makes the clients.
func (p *plane) startServer(t *testing.T) string {
	t.Helper()
	store, peers, port := "http://127.0.0.1:"+freePort(t), "http://127.0.0.1:"+freePort(t), freePort(t)
	etcd, err := exec.LookPath("etcd")
	if err != nil {
		etcd = filepath.Join(*bin, "etcd")
	}
	p.start(t, etcd, "--data-dir="+filepath.Join(p.dir, "etcd"), "--listen-client-urls="+store, "--advertise-client-urls="+store,
		"--listen-peer-urls="+peers, "--initial-advertise-peer-urls="+peers, "--initial-cluster=default="+peers, "--unsafe-no-fsync")
	token, tokens := rand.Text(), filepath.Join(p.dir, "tokens.csv")
	write(t, tokens, token+`,admin,admin,"system:masters"`+"\n")
	p.start(t, filepath.Join(*bin, "kube-apiserver"), "--etcd-servers="+store, "--secure-port="+port, "--bind-address=127.0.0.1", "--advertise-address=127.0.0.1",
		"--tls-cert-file="+p.pki.path("apiserver.crt"), "--tls-private-key-file="+p.pki.path("apiserver.key"),
		"--client-ca-file="+p.pki.path("ca.crt"), "--token-auth-file="+tokens, "--authorization-mode=RBAC",
		"--service-account-key-file="+p.pki.path("tokens.pub"), "--service-account-signing-key-file="+p.pki.path("tokens.key"),
		"--service-account-issuer=https://kubernetes.default.svc", "--service-cluster-ip-range=10.96.0.0/16",
		"--requestheader-client-ca-file="+p.pki.path("ca.crt"), "--requestheader-allowed-names=aggregator", "--requestheader-username-headers=X-Remote-User",
		"--requestheader-group-headers=X-Remote-Group", "--requestheader-extra-headers-prefix=X-Remote-Extra-",
		"--proxy-client-cert-file="+p.pki.path("aggregator.crt"), "--proxy-client-key-file="+p.pki.path("aggregator.key"),
		"--feature-gates=WatchList=false", // Debian's etcd is too old for it, and clients would try again and again
		"--endpoint-reconciler-type=none") // a loopback address may not be in an EndpointSlice
	address := "https://127.0.0.1:" + port
	write(t, p.kubeconfig, fmt.Sprintf(`apiVersion: v1
kind: Config
clusters: [{name: c, cluster: {server: %q, certificate-authority: %q}}]
users: [{name: u, user: {token: %q}}]
contexts: [{name: x, context: {cluster: c, user: u}}]
current-context: x
`, address, p.pki.path("ca.crt"), token))
	p.config = &rest.Config{Host: address, BearerToken: token, TLSClientConfig: rest.TLSClientConfig{CAFile: p.pki.path("ca.crt")}, QPS: 100, Burst: 200}
	p.client, p.objects = kubernetes.NewForConfigOrDie(p.config), dynamic.NewForConfigOrDie(p.config)
	await(t, "the API server", 3*time.Minute, func() error {
		return p.client.Discovery().RESTClient().Get().AbsPath("/readyz").Do(t.Context()).Error()
	})
	return address
}

// addMachines makes machines that only are objects, and lets kwok play them.
func (p *plane) addMachines(t *testing.T) {
	t.Helper()
	for i := range machines {
		name := fmt.Sprintf("machine-%d", i)
		machine := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name, Annotations: map[string]string{"kwok.x-k8s.io/node": "fake"}, Labels: map[string]string{
			"kubernetes.io/hostname": name, "kubernetes.io/os": "linux", "topology.kubernetes.io/zone": fmt.Sprintf("zone-%d", i%2), "pool": "edge",
		}}}
		create(t, p.client.CoreV1().Nodes(), machine)
	}
	p.start(t, filepath.Join(*bin, "kwok"), "--kubeconfig="+p.kubeconfig, "--manage-all-nodes=false", "--manage-nodes-with-annotation-selector=kwok.x-k8s.io/node=fake",
		"--cidr=10.200.0.0/16", "--node-ip=10.200.255.1", "--server-address=127.0.0.1:"+freePort(t), "--config="+filepath.Join(*bin, "stages.yaml"))
	await(t, "the machines", 2*time.Minute, func() error {
		all, err := p.client.CoreV1().Nodes().List(t.Context(), metav1.ListOptions{})
		if err != nil {
			return err
		}
		for _, machine := range all.Items {
			ready := false
			for _, c := range machine.Status.Conditions {
				ready = ready || c.Type == corev1.NodeReady && c.Status == corev1.ConditionTrue
			}
			if !ready {
				return fmt.Errorf("%s is not ready", machine.Name)
			}
		}
		return nil
	})
}

// define makes the kinds of other projects, and what value sets name.
func (p *plane) define(t *testing.T) {
	t.Helper()
	definitions, err := crd.Load(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	client := apiextensionsclient.NewForConfigOrDie(p.config).ApiextensionsV1().CustomResourceDefinitions()
	for _, d := range definitions {
		create(t, client, d)
	}
	create(t, p.client.SchedulingV1().PriorityClasses(), &schedulingv1.PriorityClass{ObjectMeta: metav1.ObjectMeta{Name: "high"}, Value: 1000})
	await(t, "the definitions", time.Minute, func() error {
		for _, d := range definitions {
			now, err := client.Get(t.Context(), d.Name, metav1.GetOptions{})
			if err != nil {
				return err
			}
			established := false
			for _, c := range now.Status.Conditions {
				established = established || c.Type == "Established" && c.Status == "True"
			}
			if !established {
				return fmt.Errorf("%s is not established", d.Name)
			}
		}
		return nil
	})
}

// namespace makes one that enforces Pod Security "restricted".
func (p *plane) namespace(t *testing.T, name string) string {
	t.Helper()
	create(t, p.client.CoreV1().Namespaces(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{
		"pod-security.kubernetes.io/enforce": "restricted", "pod-security.kubernetes.io/enforce-version": "latest",
	}}})
	await(t, "what every namespace has", time.Minute, func() error {
		if _, err := p.client.CoreV1().ServiceAccounts(name).Get(t.Context(), "default", metav1.GetOptions{}); err != nil {
			return err
		}
		_, err := p.client.CoreV1().ConfigMaps(name).Get(t.Context(), "kube-root-ca.crt", metav1.GetOptions{})
		return err
	})
	return name
}

// start starts a program, which ends with the test. What it wrote last is shown when the test failed.
func (p *plane) start(t *testing.T, path string, args ...string) {
	t.Helper()
	name := filepath.Base(path)
	log, err := os.Create(filepath.Join(p.dir, name+".log"))
	if err != nil {
		t.Fatal(err)
	}
	command := exec.Command(path, args...)
	command.Stdout, command.Stderr, command.Dir = log, log, p.dir
	command.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} // it goes with the test, however that ends
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- command.Wait() }()
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("%s:\n%s", name, tail(log.Name(), 10))
		}
		_ = stop(command, ended) // how a server ends is no concern here
		_ = log.Close()
	})
}

// stop ends a process, by force when it does not within ten seconds, and returns how it ended.
func stop(command *exec.Cmd, ended <-chan error) error {
	_ = command.Process.Signal(syscall.SIGTERM) // if it is gone, Wait has said so
	select {
	case err := <-ended:
		return err
	case <-time.After(10 * time.Second):
		_ = command.Process.Kill()
		return <-ended
	}
}

func tail(path string, lines int) string {
	text, _ := os.ReadFile(path)
	all := strings.Split(strings.TrimSpace(string(text)), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}

func freePort(t *testing.T) string {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	_, port, _ := net.SplitHostPort(l.Addr().String())
	return port
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// create makes an object by any typed client.
func create[T any](t *testing.T, client interface {
	Create(context.Context, T, metav1.CreateOptions) (T, error)
}, object T) {
	t.Helper()
	if _, err := client.Create(t.Context(), object, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
}

// await tries until there is no error, and ends the test with the last one.
func await(t *testing.T, what string, limit time.Duration, try func() error) {
	t.Helper()
	deadline := time.After(limit)
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		err := try()
		if err == nil {
			return
		}
		select {
		case <-deadline:
			t.Fatalf("%s after %v: %v", what, limit, err)
		case <-t.Context().Done():
			t.Fatal(err)
		case <-tick.C:
		}
	}
}
