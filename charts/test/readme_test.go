package charttest

import (
	"encoding/json"
	"os"
	"strings"
	"testing"

	"gopkg.in/yaml.v3"
)

// The README's table of values is the one of values.yaml and its comments; `make chart-docs` writes it again.
func TestReadme(t *testing.T) {
	const path, begin, end = chartDir + "/README.md", "from values.yaml -->\n", "<!-- end of values -->"
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, found := strings.Cut(string(text), begin)
	table, after, closed := strings.Cut(rest, end)
	if !found || !closed {
		t.Fatal("the README has no place for the values")
	}
	values, err := os.ReadFile(chartDir + "/values.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var document yaml.Node
	if err := yaml.Unmarshal(values, &document); err != nil {
		t.Fatal(err)
	}
	var rows strings.Builder
	rows.WriteString("\n| value | default | meaning |\n|---|---|---|\n")
	writeRows(t, &rows, "", document.Content[0])
	rows.WriteString("\n")
	if *update {
		if err := os.WriteFile(path, []byte(before+begin+rows.String()+end+after), 0o600); err != nil {
			t.Fatal(err)
		}
		return
	}
	if table != rows.String() {
		t.Error("the README's table of values is stale: make chart-docs")
	}
}

// writeRows writes a row for each value that has a comment, and demands one of each that has no commented parts.
func writeRows(t *testing.T, out *strings.Builder, path string, node *yaml.Node) {
	t.Helper()
	for i := 0; i < len(node.Content); i += 2 {
		key, value := node.Content[i], node.Content[i+1]
		name := path + key.Value
		comment := strings.Join(strings.Fields(strings.ReplaceAll(lastParagraph(key.HeadComment), "#", "")), " ")
		if comment == "" && value.Kind == yaml.MappingNode && len(value.Content) > 0 {
			writeRows(t, out, name+".", value)
			continue
		}
		if comment == "" {
			t.Errorf("%s has no comment in values.yaml", name)
		}
		var v any
		if err := value.Decode(&v); err != nil {
			t.Fatal(err)
		}
		text, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		out.WriteString("| `" + name + "` | `" + string(text) + "` | " + strings.ReplaceAll(comment, "|", `\|`) + " |\n")
	}
}

// lastParagraph is the comment directly above a value, without what introduces the file.
func lastParagraph(comment string) string {
	paragraphs := strings.Split(comment, "\n\n")
	return paragraphs[len(paragraphs)-1]
}
