package dashboard

import (
	"cmp"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"time"
)

// A Series is one line: its labels, and its values in time.
type Series struct {
	Labels map[string]string
	Points []Point
}

// A Point is a value at a time in Unix seconds.
type Point struct{ At, Value float64 }

// UnmarshalJSON reads [1435781430.781, "1"].
func (p *Point) UnmarshalJSON(text []byte) error {
	var pair [2]any
	if err := json.Unmarshal(text, &pair); err != nil {
		return err
	}
	at, ok := pair[0].(float64)
	value, isText := pair[1].(string)
	if !ok || !isText {
		return fmt.Errorf("dashboard: %s is no point", text)
	}
	v, err := strconv.ParseFloat(value, 64)
	*p = Point{at, v}
	return err
}

// Range asks the Prometheus at base, a URL, for an expression between two times, in the order of the labels' values.
func Range(base, expr string, from, to time.Time, step time.Duration) ([]Series, error) {
	query := url.Values{
		"query": {expr}, "step": {strconv.FormatFloat(step.Seconds(), 'f', -1, 64)},
		"start": {strconv.FormatInt(from.Unix(), 10)}, "end": {strconv.FormatInt(to.Unix(), 10)},
	}
	response, err := http.Get(base + "/api/v1/query_range?" + query.Encode())
	if err != nil {
		return nil, fmt.Errorf("dashboard: %w", err)
	}
	defer func() { _ = response.Body.Close() }()
	var body struct {
		Status, Error string
		Data          struct {
			Result []struct {
				Metric map[string]string
				Values []Point
			}
		}
	}
	if err := json.NewDecoder(response.Body).Decode(&body); err != nil {
		return nil, fmt.Errorf("dashboard: %s: %w", expr, err)
	}
	if body.Status != "success" {
		return nil, fmt.Errorf("dashboard: %s: %s", expr, body.Error)
	}
	var all []Series
	for _, r := range body.Data.Result {
		all = append(all, Series{r.Metric, r.Values})
	}
	slices.SortFunc(all, func(a, b Series) int { return cmp.Compare(fmt.Sprint(a.Labels), fmt.Sprint(b.Labels)) })
	return all, nil
}
