// Package charttest checks the Helm chart: what it renders for many values, and what it refuses.
package charttest

import (
	"flag"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"helm.sh/helm/v3/pkg/chart"
	"helm.sh/helm/v3/pkg/chart/loader"
	"helm.sh/helm/v3/pkg/chartutil"
	"helm.sh/helm/v3/pkg/engine"
	"helm.sh/helm/v3/pkg/lint"
	"helm.sh/helm/v3/pkg/lint/support"
	"helm.sh/helm/v3/pkg/releaseutil"
	"sigs.k8s.io/yaml"
)

const chartDir = "../logux-proxy"

var update = flag.Bool("update", false, "write the golden files and the README's table again")

func loadChart(t *testing.T) *chart.Chart {
	t.Helper()
	c, err := loader.Load(chartDir)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// fixed are the values that would be made by chance.
const fixed = `
backend: {url: "http://app.shop.svc:3000/logux"}
controlSecret: {value: 0123456789abcdef0123456789abcdef}
gossip: {value: MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=}
`

// readValues merges texts of YAML, the later over the earlier ones.
func readValues(t *testing.T, texts ...string) chartutil.Values {
	t.Helper()
	all := chartutil.Values{}
	for _, text := range texts {
		var v map[string]any
		if err := yaml.Unmarshal([]byte(text), &v); err != nil {
			t.Fatal(err)
		}
		all = chartutil.CoalesceTables(v, all)
	}
	return all
}

// A cluster is what a chart is rendered for.
type cluster struct {
	version string // of Kubernetes; "" is v1.36.3
	lookup  engine.ClientProvider
}

// render is `helm template shop CHART --namespace web`, file by file, with what was rendered empty left out.
func render(t *testing.T, in cluster, values chartutil.Values) (map[string]string, error) {
	t.Helper()
	c := loadChart(t)
	caps := chartutil.DefaultCapabilities.Copy()
	caps.KubeVersion = chartutil.KubeVersion{Version: "v1.36.3", Major: "1", Minor: "36"}
	if in.version != "" {
		v, err := chartutil.ParseKubeVersion(in.version)
		if err != nil {
			t.Fatal(err)
		}
		caps.KubeVersion = *v
	}
	options := chartutil.ReleaseOptions{Name: "shop", Namespace: "web", Revision: 1, IsInstall: true}
	all, err := chartutil.ToRenderValues(c, values, options, caps)
	if err != nil {
		return nil, err
	}
	var files map[string]string
	if in.lookup == nil {
		files, err = engine.Render(c, all)
	} else {
		files, err = engine.RenderWithClientProvider(c, all, in.lookup)
	}
	maps.DeleteFunc(files, func(_, text string) bool { return strings.TrimSpace(text) == "" })
	return files, err
}

// mustRender is render that ends the test on errors.
func mustRender(t *testing.T, values chartutil.Values) map[string]string {
	t.Helper()
	files, err := render(t, cluster{}, values)
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// objects are the objects of rendered files, in the files' order.
func objects(files map[string]string) []string {
	var all []string
	for _, name := range slices.Sorted(maps.Keys(files)) {
		if strings.HasSuffix(name, ".txt") {
			continue
		}
		parts := releaseutil.SplitManifests(files[name])
		keys := slices.Collect(maps.Keys(parts))
		slices.SortFunc(keys, func(a, b string) int { return len(a) - len(b) + strings.Compare(a, b)*boolInt(len(a) == len(b)) })
		for _, key := range keys {
			all = append(all, strings.TrimSpace(parts[key])+"\n")
		}
	}
	return all
}

func boolInt(b bool) int {
	if b {
		return 1
	}
	return 0
}

// cases are the value sets of testdata, by name.
func cases(t *testing.T) map[string]string {
	t.Helper()
	files, err := filepath.Glob("testdata/*.values.yaml")
	if err != nil || len(files) < 12 {
		t.Fatalf("%d value sets: %v", len(files), err)
	}
	all := make(map[string]string)
	for _, path := range files {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		all[strings.TrimSuffix(filepath.Base(path), ".values.yaml")] = string(text)
	}
	return all
}

// chance is the one entry of a Secret that no value sets.
var chance = regexp.MustCompile(`(redis-password:) "[A-Za-z0-9+/=]{44}"`)

// Every value set renders what its golden file says: `make chart-docs` writes these again.
func TestGolden(t *testing.T) {
	for name, text := range cases(t) {
		t.Run(name, func(t *testing.T) {
			files := mustRender(t, readValues(t, fixed, text))
			got := strings.Join(objects(files), "---\n")
			got += "--- NOTES.txt\n" + strings.TrimSpace(files["logux-proxy/templates/NOTES.txt"]) + "\n"
			got = chance.ReplaceAllString(got, "$1 by chance")
			path := filepath.Join("testdata", name+".golden.yaml")
			if *update {
				if err := os.WriteFile(path, []byte(got), 0o600); err != nil {
					t.Fatal(err)
				}
				return
			}
			want, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if got != string(want) {
				t.Errorf("rendered otherwise than %s (make chart-docs writes it again):\n%s", path, firstDifference(got, string(want)))
			}
		})
	}
}

func firstDifference(got, want string) string {
	g, w := strings.Split(got, "\n"), strings.Split(want, "\n")
	for i := range min(len(g), len(w)) {
		if g[i] != w[i] {
			return "got  " + g[i] + "\nwant " + w[i]
		}
	}
	return "one is longer"
}

// helm lint has nothing to say, with each value set.
func TestLint(t *testing.T) {
	for name, text := range cases(t) {
		v := chartutil.KubeVersion{Version: "v1.36.3", Major: "1", Minor: "36"}
		result := lint.AllWithKubeVersion(chartDir, readValues(t, fixed, text), "web", &v)
		for _, m := range result.Messages {
			if m.Severity > support.InfoSev {
				t.Errorf("%s: %v", name, m)
			}
		}
	}
}
