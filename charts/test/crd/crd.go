// Package crd brings the definitions of the kinds that come from other projects and that the chart can make objects of.
package crd

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"sigs.k8s.io/yaml"
)

// sources are files of Go modules, which the proxy for modules serves whole. They are not imported: a definition says more than
// a Go type, and those of KEDA would bring every cloud's client along.
var sources = []struct {
	module string
	files  []string
}{
	{"github.com/prometheus-operator/prometheus-operator@v0.85.0", []string{
		"example/prometheus-operator-crd/monitoring.coreos.com_podmonitors.yaml",
		"example/prometheus-operator-crd/monitoring.coreos.com_prometheusrules.yaml",
		"example/prometheus-operator-crd/monitoring.coreos.com_servicemonitors.yaml",
	}},
	{"github.com/kedacore/keda/v2@v2.21.0", []string{"config/crd/bases/keda.sh_scaledobjects.yaml"}},
	{"sigs.k8s.io/gateway-api@v1.6.0", []string{"config/crd/standard/gateway.networking.k8s.io_httproutes.yaml"}},
}

// Load returns all definitions. Modules that the module cache has not are downloaded, up to 40 MB.
func Load(ctx context.Context) ([]*apiextensionsv1.CustomResourceDefinition, error) {
	args := []string{"mod", "download", "-json"}
	for _, s := range sources {
		args = append(args, s.module)
	}
	command := exec.CommandContext(ctx, "go", args...)
	command.Dir = os.TempDir() // no module's go.mod has a say
	command.Stderr = os.Stderr
	out, err := command.Output()
	if err != nil {
		return nil, fmt.Errorf("go mod download: %w\n%s", err, out)
	}
	folders := make(map[string]string)
	for decoder := json.NewDecoder(bytes.NewReader(out)); ; {
		var m struct{ Path, Version, Dir string }
		if err := decoder.Decode(&m); err == io.EOF {
			break
		} else if err != nil {
			return nil, fmt.Errorf("go mod download: %w", err)
		}
		folders[m.Path+"@"+m.Version] = m.Dir
	}
	var all []*apiextensionsv1.CustomResourceDefinition
	for _, s := range sources {
		for _, file := range s.files {
			text, err := os.ReadFile(filepath.Join(folders[s.module], filepath.FromSlash(file)))
			if err != nil {
				return nil, err
			}
			definition := new(apiextensionsv1.CustomResourceDefinition)
			if err := yaml.Unmarshal(text, definition); err != nil {
				return nil, fmt.Errorf("%s: %w", file, err)
			}
			all = append(all, definition)
		}
	}
	return all, nil
}
