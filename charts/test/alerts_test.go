package charttest

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"sigs.k8s.io/yaml"
)

// A rule is one alert.
type rule struct {
	Alert       string            `json:"alert"`
	Expr        string            `json:"expr"`
	Annotations map[string]string `json:"annotations"`
}

type ruleGroups struct {
	Groups []struct {
		Name  string `json:"name"`
		Rules []rule `json:"rules"`
	} `json:"groups"`
}

// alerts are the rules as they are installed, and as a file for promtool.
func alerts(t *testing.T) ([]rule, string) {
	t.Helper()
	files := mustRender(t, readValues(t, fixed, `{redis: {hosts: [r]}, metrics: {rules: {enabled: true, runbookURL: "https://example.com/RUNBOOK.md"}}}`))
	var object struct {
		Spec json.RawMessage `json:"spec"`
	}
	if err := yaml.Unmarshal([]byte(files["logux-proxy/templates/prometheusrule.yaml"]), &object); err != nil {
		t.Fatal(err)
	}
	var groups ruleGroups
	if err := yaml.Unmarshal(object.Spec, &groups); err != nil || len(groups.Groups) != 1 {
		t.Fatalf("%d groups: %v", len(groups.Groups), err)
	}
	text, err := yaml.JSONToYAML(object.Spec)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "alerts.yaml")
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
	return groups.Groups[0].Rules, path
}

// Every alert has its section in the runbook, where its link leads, and every section its alert.
func TestRunbook(t *testing.T) {
	text, err := os.ReadFile(chartDir + "/RUNBOOK.md")
	if err != nil {
		t.Fatal(err)
	}
	sections := make(map[string]bool)
	for _, m := range regexp.MustCompile(`(?m)^## (\w+)\n\S`).FindAllStringSubmatch(string(text), -1) {
		sections[m[1]] = true
	}
	rules, _ := alerts(t)
	for _, r := range rules {
		if !sections[r.Alert] || r.Annotations["runbook_url"] != "https://example.com/RUNBOOK.md#"+strings.ToLower(r.Alert) {
			t.Errorf("%s has no section, or the link %s", r.Alert, r.Annotations["runbook_url"])
		}
		if r.Annotations["summary"] == "" || r.Annotations["description"] == "" {
			t.Errorf("%s says nothing", r.Alert)
		}
		delete(sections, r.Alert)
	}
	for name := range sections {
		t.Errorf("no alert belongs to the section %s", name)
	}
}

// promtool takes the rules, and they fire when they should and not otherwise: testdata/alerts.test.yaml.
func TestAlerts(t *testing.T) {
	rules, path := alerts(t)
	scenarios, err := os.ReadFile("testdata/alerts.test.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range rules {
		if text := string(scenarios); !strings.Contains(text, "alertname: "+r.Alert+"}") || !strings.Contains(text, `{alertname="`+r.Alert+`"}`) {
			t.Errorf("%s is not played both where all is well and where all is wrong", r.Alert)
		}
	}
	tests := filepath.Join(filepath.Dir(path), "test.yaml")
	if err := os.WriteFile(tests, scenarios, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"check", "rules", path}, {"test", "rules", tests}} {
		if out, err := exec.CommandContext(t.Context(), "promtool", args...).CombinedOutput(); err != nil {
			t.Errorf("promtool %s: %v\n%s", strings.Join(args, " "), err, out)
		}
	}
}

var metricName = regexp.MustCompile(`\b(logux|process|go)_[a-z_]+\b`)

// Alerts, their runbook, the dashboard and the autoscalers use only metrics that a node has.
func TestMetricsExist(t *testing.T) {
	known := nodeMetrics(t)
	rules, _ := alerts(t)
	used := make(map[string]string)
	for _, r := range rules {
		for _, name := range metricName.FindAllString(r.Expr, -1) {
			used[name] = r.Alert
		}
	}
	text, err := os.ReadFile(chartDir + "/dashboard.json")
	if err != nil {
		t.Fatal(err)
	}
	var dashboard struct {
		Panels []struct {
			Title   string `json:"title"`
			Targets []struct {
				Expr string `json:"expr"`
			} `json:"targets"`
		} `json:"panels"`
	}
	if err := json.Unmarshal(text, &dashboard); err != nil {
		t.Fatal(err)
	}
	for _, p := range dashboard.Panels {
		for _, target := range p.Targets {
			for _, name := range metricName.FindAllString(target.Expr, -1) {
				used[name] = p.Title
			}
		}
	}
	runbook, err := os.ReadFile(chartDir + "/RUNBOOK.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range metricName.FindAllString(string(runbook), -1) {
		used[name] = "RUNBOOK.md"
	}
	used["logux_connections"] = "the autoscalers"
	if len(used) < 30 {
		t.Fatalf("only %d metrics are used", len(used))
	}
	for name, by := range used {
		if !known[name] {
			t.Errorf("%s uses %s, which no node has", by, name)
		}
	}
}

// nodeMetrics runs the built program with all that has metrics, and reads their names.
func nodeMetrics(t *testing.T) map[string]bool {
	t.Helper()
	admin, gossip := freeAddr(t), freeAddr(t)
	binary, err := filepath.Abs("../../bin/logux-proxy")
	if err != nil {
		t.Fatal(err)
	}
	node := exec.CommandContext(t.Context(), binary)
	node.Dir = t.TempDir()
	node.Env = []string{
		"LOGUX_CONTROL_SECRET=0123456789abcdef", "LOGUX_BACKEND=http://127.0.0.1:9/", "LOGUX_PORT=0", "LOGUX_ADMIN_ADDR=" + admin,
		"LOGUX_REDIS=redis://127.0.0.1:1", "LOGUX_GOSSIP_ADDR=" + gossip,
	}
	if err := node.Start(); err != nil {
		t.Fatalf("%v (make chart builds it)", err)
	}
	t.Cleanup(func() {
		_ = node.Process.Kill() // it has nothing to lose
		_ = node.Wait()
	})
	names := make(map[string]bool)
	for deadline := time.Now().Add(60 * time.Second); len(names) == 0; {
		if time.Now().After(deadline) {
			t.Fatal("the node shows no metrics")
		}
		if err := readMetrics(t.Context(), "http://"+admin+"/metrics", names); err != nil {
			select {
			case <-time.After(50 * time.Millisecond):
			case <-t.Context().Done():
				t.Fatal(err)
			}
		}
	}
	return names
}

func freeAddr(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().String()
}

func readMetrics(ctx context.Context, url string, names map[string]bool) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("%s", response.Status)
	}
	for lines := bufio.NewScanner(io.LimitReader(response.Body, 10<<20)); lines.Scan(); {
		if name := metricName.FindString(lines.Text()); name != "" && !strings.HasPrefix(lines.Text(), "#") {
			names[name] = true
		}
	}
	return nil
}
