package dashboard

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"
)

// A Definition is what we read of Grafana's JSON of a dashboard.
type Definition struct {
	Title       string  `json:"title"`
	Panels      []Panel `json:"panels"`
	Annotations struct {
		List []Query `json:"list"`
	} `json:"annotations"`
}

// A Panel is a row (a heading), a stat (a number) or a timeseries (lines).
type Panel struct {
	Type        string `json:"type"`
	Title       string `json:"title"`
	Description string `json:"description"`
	GridPos     struct {
		H, W, X, Y int
	} `json:"gridPos"`
	FieldConfig struct {
		Defaults struct {
			Unit       string   `json:"unit"`
			Max        *float64 `json:"max"`
			Thresholds struct {
				Steps []Step `json:"steps"`
			} `json:"thresholds"`
		} `json:"defaults"`
	} `json:"fieldConfig"`
	Targets []Query `json:"targets"`
}

// A Step is the colour of a number from Value on; nil: of all below the next.
type Step struct {
	Color string   `json:"color"`
	Value *float64 `json:"value"`
}

// A Query is one expression of PromQL and the name of what it answers, in which {{label}} stands for the label's value.
type Query struct {
	Expr         string `json:"expr"`
	LegendFormat string `json:"legendFormat"`
	TitleFormat  string `json:"titleFormat"`
}

// Read reads a dashboard.
func Read(path string) (*Definition, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("dashboard: %w", err)
	}
	d := new(Definition)
	if err := json.Unmarshal(text, d); err != nil {
		return nil, fmt.Errorf("dashboard: %s: %w", path, err)
	}
	return d, nil
}

// Fill puts values in place of the dashboard's variables, $name.
func Fill(expr string, values map[string]string) string {
	for name, value := range values {
		expr = strings.ReplaceAll(expr, "$"+name, value)
	}
	return expr
}

// Legend is the name of a series of a query.
func (q *Query) Legend(labels map[string]string) string {
	text := q.LegendFormat
	for name, value := range labels {
		text = strings.ReplaceAll(text, "{{"+name+"}}", value)
	}
	return text
}
