//go:build cluster

package cluster

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// A stage plays the pods of a release: each by a process of the program, with the variables and files of the pod and with
// addresses of this machine. A pod that goes gets SIGTERM, and drains.
type stage struct {
	t              *testing.T
	r              *release
	redis, backend string // URLs
	program        string
	done           sync.WaitGroup

	mu sync.Mutex
	// Guarded by mu.

	players map[string]*player // of pods that do not go, by name
}

// A player is the process of a pod.
type player struct {
	pod                      string
	websocket, admin, gossip string // addresses
	command                  *exec.Cmd
	ended                    chan error

	// Guarded by the stage's mu.

	ready bool    // has been
	cpu   float64 // cores, between two looks
	spent float64 // CPU seconds, at the time of
	at    time.Time
}

// startStage plays what happens to the release's pods until the test ends.
func startStage(t *testing.T, r *release, redis, backend string) *stage {
	t.Helper()
	path, err := filepath.Abs(*program)
	if err != nil {
		t.Fatal(err)
	}
	s := &stage{t: t, r: r, redis: redis, backend: backend, program: path, players: make(map[string]*player)}
	s.done.Go(func() {
		tick := time.NewTicker(200 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-t.Context().Done():
				return
			case <-tick.C:
			}
			if pods, err := r.client.CoreV1().Pods(r.namespace).List(t.Context(), r.selector("proxy")); err == nil {
				s.follow(pods.Items)
			}
		}
	})
	t.Cleanup(func() {
		s.mu.Lock()
		for name := range s.players {
			if t.Failed() {
				t.Logf("%s:\n%s", name, tail(filepath.Join(r.dir, name, "log"), 10))
			}
			s.leave(name)
		}
		s.mu.Unlock()
		s.done.Wait()
	})
	return s
}

// follow does with processes what happens to the pods.
func (s *stage) follow(pods []corev1.Pod) {
	s.mu.Lock()
	defer s.mu.Unlock()
	stay := make(map[string]bool)
	for i := range pods {
		pod := &pods[i]
		if pod.DeletionTimestamp != nil || pod.Status.Phase != corev1.PodRunning {
			continue
		}
		stay[pod.Name] = true
		if s.players[pod.Name] != nil {
			continue
		}
		if err := s.enter(pod); err != nil {
			s.t.Errorf("%s: %v", pod.Name, err)
		}
	}
	for name := range s.players {
		if !stay[name] {
			s.leave(name)
		}
	}
}

// enter starts the process of a pod; mu must be held.
func (s *stage) enter(pod *corev1.Pod) error {
	address := func() string { return "127.0.0.1:" + freePort(s.t) }
	p := &player{pod: pod.Name, websocket: address(), admin: address(), gossip: address(), ended: make(chan error, 1)}
	dir := filepath.Join(s.r.dir, pod.Name)
	if err := s.writeSecrets(pod, dir); err != nil {
		return err
	}
	join := []string{p.gossip} // in place of the names of the headless Service
	for _, other := range s.players {
		join = append(join, other.gossip)
	}
	_, port, _ := strings.Cut(p.websocket, ":")
	log, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		return err
	}
	p.command = exec.Command(s.program)
	p.command.Dir, p.command.Stdout, p.command.Stderr = dir, log, log
	p.command.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	p.command.Env = environment(pod, dir, map[string]string{
		"LOGUX_HOST": "127.0.0.1", "LOGUX_PORT": port, "LOGUX_CONTROL_ADDR": address(), "LOGUX_ADMIN_ADDR": p.admin, "LOGUX_GOSSIP_ADDR": p.gossip,
		"POD_IP": "127.0.0.1", "POD_NAME": pod.Name, "LOGUX_JOIN": strings.Join(join, ","), "LOGUX_REDIS": s.redis, "LOGUX_BACKEND": s.backend,
	})
	if err := p.command.Start(); err != nil {
		return err
	}
	s.players[pod.Name] = p
	s.done.Go(func() {
		err := p.command.Wait()
		_ = log.Close()
		if err != nil {
			s.t.Errorf("%s ended: %v\n%s", pod.Name, err, tail(log.Name(), 10))
		}
		p.ended <- err
	})
	s.done.Go(func() { s.awaitReady(p) })
	return nil
}

// leave tells the process of a pod to go, and forgets it; mu must be held.
func (s *stage) leave(name string) {
	_ = s.players[name].command.Process.Signal(syscall.SIGTERM) // if it is gone, Wait has said so
	delete(s.players, name)
}

func (s *stage) awaitReady(p *player) {
	for {
		if _, err := get(s.t.Context(), "http://"+p.admin+"/readyz"); err == nil {
			s.mu.Lock()
			p.ready = true
			s.mu.Unlock()
			return
		}
		select {
		case <-p.ended:
			return
		case <-s.t.Context().Done():
			return
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// addresses are where clients may connect.
func (s *stage) addresses() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []string
	for _, p := range s.players {
		if p.ready {
			all = append(all, p.websocket)
		}
	}
	return all
}

// A load is what a pod's process says of itself.
type load struct {
	connections int64
	cpu         float64 // cores
}

var metric = regexp.MustCompile(`(?m)^(logux_connections|process_cpu_seconds_total) (\S+)$`)

// look reads the metrics of all processes, by pod. One that is just starting is left out, as by any adapter.
func (s *stage) look(ctx context.Context) map[string]load {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := make(map[string]load)
	for name, p := range s.players {
		text, err := get(ctx, "http://"+p.admin+"/metrics")
		if err != nil {
			continue
		}
		values := make(map[string]float64)
		for _, m := range metric.FindAllStringSubmatch(text, -1) {
			values[m[1]], _ = strconv.ParseFloat(m[2], 64)
		}
		if now, spent := time.Now(), values["process_cpu_seconds_total"]; p.at.IsZero() || now.Sub(p.at) >= lookPeriod {
			if !p.at.IsZero() {
				p.cpu = (spent - p.spent) / now.Sub(p.at).Seconds()
			}
			p.spent, p.at = spent, now
		}
		all[name] = load{int64(values["logux_connections"]), p.cpu}
	}
	return all
}

func get(ctx context.Context, url string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return "", err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return "", err
	}
	defer func() { _ = response.Body.Close() }()
	text, err := io.ReadAll(response.Body)
	if err == nil && response.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", url, response.Status)
	}
	return string(text), err
}

// writeSecrets writes what the Secrets of the pod hold, as Kubernetes would.
func (s *stage) writeSecrets(pod *corev1.Pod, dir string) error {
	if err := os.MkdirAll(filepath.Join(dir, "secrets"), 0o700); err != nil {
		return err
	}
	for _, volume := range pod.Spec.Volumes {
		if volume.Projected == nil {
			continue
		}
		for _, source := range volume.Projected.Sources {
			secret, err := s.r.client.CoreV1().Secrets(pod.Namespace).Get(s.t.Context(), source.Secret.Name, metav1.GetOptions{})
			if err != nil {
				return err
			}
			for _, item := range source.Secret.Items {
				if err := os.WriteFile(filepath.Join(dir, volume.Name, item.Path), secret.Data[item.Key], 0o600); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

var reference = regexp.MustCompile(`\$\(([A-Z_]+)\)`)

// environment is that of the pod's container, with some values in place of its own.
func environment(pod *corev1.Pod, dir string, instead map[string]string) []string {
	values := make(map[string]string)
	var all []string
	for _, v := range pod.Spec.Containers[0].Env {
		text := strings.ReplaceAll(reference.ReplaceAllStringFunc(v.Value, func(text string) string {
			return values[reference.FindStringSubmatch(text)[1]]
		}), "/etc/logux-proxy", dir)
		if other, found := instead[v.Name]; found {
			text = other
		}
		values[v.Name] = text
		all = append(all, v.Name+"="+text)
	}
	return all
}
