//go:build dashboard

package dashboard

import (
	"flag"
	"fmt"
	"math"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"logux-proxy/e2e/fleet"
	"logux-proxy/e2e/history"
)

var picture = flag.String("picture", "", "draw the dashboard as an SVG picture into this file")

const scrape = 2 * time.Second

// Every query of the dashboard is answered, while what may break breaks.
func TestDashboard(t *testing.T) {
	definition, err := Read("../../charts/logux-proxy/dashboard.json")
	if err != nil {
		t.Fatal(err)
	}
	program := fleet.MustBuild(t, "../..", false)
	redis := fleet.StartRedis(t, "127.0.0.1")
	app, err := fleet.NewBackend(history.NewRecorder(), "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(app.Close)
	at, err := url.Parse(app.URL(""))
	if err != nil {
		t.Fatal(err)
	}
	backend := fleet.NewLine(t, at.Host)
	f := fleet.New(t, fleet.Options{
		Program: program, Nodes: 3, Redis: func(int) string { return redis.URL() }, Seed: 1,
		Load:     fleet.Load{Clients: 600, Idle: 300, Rate: 100, Channels: 30, Slow: 20, SlowTime: 500 * time.Millisecond, Churn: 2 * time.Minute},
		Settings: fleet.Settings{"LOGUX_BACKEND": "http://" + backend.Addr + "/node", "LOGUX_BACKEND_HOLD": "5s", "GOMEMLIMIT": "200MiB"},
	})
	prometheus := startPrometheus(t, f)
	from := time.Now()
	f.Crowd.Act(true)
	f.Pass(30 * time.Second)
	backend.Down()
	f.Pass(12 * time.Second)
	backend.Up()
	f.Pass(25 * time.Second)
	redis.Stop()
	f.Pass(12 * time.Second)
	redis.Continue()
	f.Pass(25 * time.Second)
	f.Nodes[1].Kill()
	f.Pass(10 * time.Second)
	f.Nodes[1].Start()
	f.Pass(40 * time.Second)
	to := time.Now()

	values := map[string]string{"namespace": "shop", "proxy": "logux-proxy", "__rate_interval": "10s"}
	p := Picture{
		Definition: definition, From: float64(from.Unix()), To: float64(to.Unix()), Lines: make(map[*Panel][]Line),
		Note: "Three nodes, 600 clients, 100 actions a second. At 30 s the back-end is away for 12 s, at 67 s Redis hangs for 12 s, at 104 s node-2 is killed and started again 10 s later.",
	}
	for i := range definition.Panels {
		panel := &definition.Panels[i]
		for _, q := range panel.Targets {
			all, err := Range(prometheus, Fill(q.Expr, values), from, to, scrape)
			if err != nil {
				t.Fatal(err)
			}
			if len(all) == 0 {
				t.Errorf("%q: nothing answers %s", panel.Title, q.Expr)
			}
			for _, s := range all {
				p.Lines[panel] = append(p.Lines[panel], Line{q.Legend(s.Labels), s.Points})
			}
		}
	}
	for _, q := range definition.Annotations.List {
		all, err := Range(prometheus, Fill(q.Expr, values), from, to, scrape)
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range all {
			last := math.Inf(-1)
			for _, pt := range s.Points {
				if pt.At-last > 5 && pt.At-p.From > 62 { // all are new in the first minute
					p.Marks = append(p.Marks, Mark{pt.At, q.TitleFormat})
				}
				last = pt.At
			}
		}
	}
	if len(p.Marks) == 0 {
		t.Error("no annotation says that a node was started")
	}
	if *picture != "" {
		if err := os.WriteFile(*picture, []byte(p.SVG()), 0o644); err != nil { //nolint:gosec // a picture for everybody
			t.Error(err)
		}
	}
}

// startPrometheus starts one that reads all nodes as in Kubernetes, and returns its URL. It ends with the test.
func startPrometheus(t *testing.T, f *fleet.Fleet) string {
	t.Helper()
	var targets strings.Builder
	for _, n := range f.Nodes {
		fmt.Fprintf(&targets, "      - {targets: [%q], labels: {namespace: shop, proxy: logux-proxy, pod: %q}}\n", n.Admin, n.Name)
	}
	dir := t.TempDir()
	config := filepath.Join(dir, "prometheus.yml")
	text := fmt.Sprintf("global: {scrape_interval: %v}\nscrape_configs:\n  - job_name: logux-proxy\n    static_configs:\n%s", scrape, targets.String())
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := listener.Addr().String()
	_ = listener.Close()
	log, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("prometheus", "--config.file="+config, "--storage.tsdb.path="+filepath.Join(dir, "data"), "--web.listen-address="+addr)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatalf("%v (e2e/install.sh dashboard installs it)", err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		_ = log.Close()
		if said, err := os.ReadFile(log.Name()); err == nil && t.Failed() {
			t.Logf("prometheus said:\n%s", said)
		}
	})
	fleet.Await(t, "prometheus is ready", func() bool {
		res, err := http.Get("http://" + addr + "/-/ready")
		if err != nil {
			return false
		}
		return res.Body.Close() == nil && res.StatusCode == http.StatusOK
	})
	return "http://" + addr
}
