package charttest

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
)

// The program takes what the chart sets: it starts with the variables and files of each value set, on loopback addresses,
// knows every variable, and passes helm test.
func TestProgramStarts(t *testing.T) {
	for name, text := range cases(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			values := readValues(t, fixed, text, `fullnameOverride: ""`)
			files := mustRender(t, values)
			d := deployment(t, files)
			dir := t.TempDir()
			ports := map[string]string{"websocket": freeAddr(t), "control": freeAddr(t), "admin": freeAddr(t)}
			writeFiles(t, dir, d, files)
			binary, err := filepath.Abs("../../bin/logux-proxy")
			if err != nil {
				t.Fatal(err)
			}
			var out bytes.Buffer
			node := exec.Command(binary)
			node.Dir, node.Stdout, node.Stderr = dir, &out, &out
			node.Env = environment(d.Spec.Template.Spec.Containers[0].Env, dir, map[string]string{
				"LOGUX_HOST": "127.0.0.1", "LOGUX_PORT": portOf(t, ports["websocket"]), "LOGUX_CONTROL_ADDR": ports["control"], "LOGUX_ADMIN_ADDR": ports["admin"],
				"LOGUX_GOSSIP_ADDR": freeAddr(t), "LOGUX_DRAIN_GRACE": "0s", "LOGUX_DRAIN_TIME": "0s", "POD_NAME": "web-1", "POD_IP": "127.0.0.1",
			})
			if err := node.Start(); err != nil {
				t.Fatalf("%v (make chart builds it)", err)
			}
			ended := make(chan error, 1)
			go func() { ended <- node.Wait() }()
			answered := make(chan error, 1)
			go func() { answered <- awaitHealth(t.Context(), "http://"+ports["admin"]+"/readyz") }()
			select {
			case err := <-ended:
				t.Fatalf("it ended: %v\n%s", err, &out)
			case err = <-answered:
			}
			if off := values["tests"] != nil; err == nil && !off {
				helmTest(t, files, binary, ports)
			}
			_ = node.Process.Signal(os.Interrupt) // if it is gone, Wait says so
			if stopped := <-ended; err != nil || stopped != nil {
				t.Errorf("%v, %v\n%s", err, stopped, &out)
			}
			if strings.Contains(out.String(), "Nothing reads the variable") {
				t.Errorf("it does not know a variable:\n%s", &out)
			}
		})
	}
}

// helmTest runs the containers of the chart's test as Kubernetes would: their images are the program, and the Services that they
// ask lead to ports of the node, by name.
func helmTest(t *testing.T, files map[string]string, binary string, ports map[string]string) {
	t.Helper()
	services := make(map[string]string)
	for _, text := range objects(files) {
		if service, is := decode(t, text).(*corev1.Service); is {
			for _, p := range service.Spec.Ports {
				services[fmt.Sprintf("%s:%d", service.Name, p.Port)] = ports[p.TargetPort.StrVal]
			}
		}
	}
	resolve := func(service string) string {
		addr := services[service]
		if addr == "" {
			t.Errorf("helm test asks %s, which is no port of a Service: %v", service, services)
		}
		return addr
	}
	for _, c := range find[corev1.Pod](t, files, "Pod", "shop-logux-proxy-test").Spec.Containers {
		values := make(map[string]string)
		for _, v := range c.Env {
			values[v.Name] = v.Value
		}
		if host := values["LOGUX_HOST"]; host != "" {
			values["LOGUX_HOST"], values["LOGUX_PORT"] = "127.0.0.1", portOf(t, resolve(host+":"+values["LOGUX_PORT"]))
		}
		for i, arg := range c.Args {
			if strings.Contains(arg, ":") {
				c.Args[i] = resolve(arg)
			}
		}
		ask := exec.CommandContext(t.Context(), binary, c.Args...)
		ask.Env = []string{}
		for name, value := range values {
			ask.Env = append(ask.Env, name+"="+value)
		}
		if out, err := ask.CombinedOutput(); err != nil {
			t.Errorf("the container %s of helm test: %v: %s", c.Name, err, out)
		}
	}
}

func portOf(t *testing.T, addr string) string {
	t.Helper()
	_, port, err := net.SplitHostPort(addr)
	if err != nil {
		t.Fatal(err)
	}
	return port
}

func awaitHealth(ctx context.Context, url string) error {
	ctx, cancel := context.WithTimeout(ctx, 60*time.Second)
	defer cancel()
	for {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		if err != nil {
			return err
		}
		response, err := http.DefaultClient.Do(request)
		if err == nil {
			_ = response.Body.Close()
			if response.StatusCode == http.StatusOK {
				return nil
			}
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("it is not healthy: %w", ctx.Err())
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// environment is the container's, as Kubernetes would fill it, with some values in place of the pod's.
func environment(variables []corev1.EnvVar, dir string, instead map[string]string) []string {
	values := map[string]string{"REDIS_PASSWORD": "letters", "REDIS_SENTINEL_PASSWORD": "letters"}
	reference := regexp.MustCompile(`\$\(([A-Z_]+)\)`)
	var all []string
	for _, v := range variables {
		if v.ValueFrom == nil {
			values[v.Name] = strings.ReplaceAll(reference.ReplaceAllStringFunc(v.Value, func(text string) string {
				return values[reference.FindStringSubmatch(text)[1]]
			}), "/etc/logux-proxy", dir)
		}
		if value, found := instead[v.Name]; found {
			values[v.Name] = value
		}
		all = append(all, v.Name+"="+values[v.Name])
	}
	return all
}

// writeFiles writes the pod's files into dir: of the chart's own Secret what it holds, of others something of that kind.
func writeFiles(t *testing.T, dir string, d *appsv1.Deployment, files map[string]string) {
	t.Helper()
	write := func(path string, text []byte) {
		path = filepath.Join(dir, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	foreign := map[string]string{
		"control-secret": "fedcba9876543210fedcba9876543210\n", "redis-url": "redis://:secret@127.0.0.1:1/0\n",
		"gossip-key": "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=\n",
	}
	cert, key := keyPair(t)
	for _, volume := range d.Spec.Template.Spec.Volumes {
		if volume.Secret != nil {
			write(volume.Name+"/ca.crt", cert)
			write(volume.Name+"/tls.crt", cert)
			write(volume.Name+"/tls.key", key)
		}
		if volume.Projected == nil {
			continue
		}
		for _, source := range volume.Projected.Sources {
			item := source.Secret.Items[0]
			text := []byte(foreign[item.Path])
			if source.Secret.Name == d.Name {
				text = find[corev1.Secret](t, files, "Secret", d.Name).Data[item.Key]
			}
			if len(text) == 0 {
				t.Errorf("the Secret %s has no entry %s", source.Secret.Name, item.Key)
			}
			// The URL names files of the pod.
			write("secrets/"+item.Path, bytes.ReplaceAll(text, []byte("/etc/logux-proxy"), []byte(dir)))
		}
	}
}

// keyPair is a certificate and its key in PEM.
func keyPair(t *testing.T) (cert, key []byte) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), DNSNames: []string{"localhost"}}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	if err != nil {
		t.Fatal(err)
	}
	text, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: text})
}
