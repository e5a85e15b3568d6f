package main

import (
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"logux-proxy/backend"
	"logux-proxy/gateway"
)

// metrics are what Prometheus reads: counters that the packages keep themselves (see collectors.go)
// and histograms that they are given a function for. Every label value exists from the start, so
// that a rate over it is 0 and not absent.
type metrics struct {
	registry *prometheus.Registry

	actionSeconds    *prometheus.HistogramVec
	authSeconds      *prometheus.HistogramVec
	backendSeconds   *prometheus.HistogramVec
	backendFirstByte prometheus.Histogram
	backendBatch     prometheus.Histogram
}

// authOutcomes are the values of the label outcome of logux_auth_seconds.
var authOutcomes = []string{"authenticated", "denied", "wrongSubprotocol", "error", "unavailable", "bruteforce"}

// requestStatuses are those of the label status of logux_backend_request_seconds.
var requestStatuses = []string{"2xx", "3xx", "4xx", "5xx", "none"}

// latencies span the fast back-end's millisecond and the longest hold.
var latencies = []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60}

// newMetrics makes the registry. dropped is how many log lines were lost.
func newMetrics(dropped func() int64) *metrics {
	m := &metrics{
		registry: prometheus.NewRegistry(),
		actionSeconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "logux_action_seconds", Help: "Time from an action's arrival to its outcome.", Buckets: latencies,
		}, []string{"outcome"}),
		authSeconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "logux_auth_seconds", Help: "Time from a client's connect to the answer.", Buckets: latencies,
		}, []string{"outcome"}),
		backendSeconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "logux_backend_request_seconds", Help: "Time of a whole request to the back-end, by class of its status; none is without a response.", Buckets: latencies,
		}, []string{"status"}),
		backendFirstByte: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "logux_backend_first_byte_seconds", Help: "Time from a request to the beginning of its response.", Buckets: latencies,
		}),
		backendBatch: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "logux_backend_request_commands", Help: "Commands in one request to the back-end.", Buckets: []float64{1, 2, 5, 10, 20, 50, 100, 1000},
		}),
	}
	lines := prometheus.NewCounterFunc(prometheus.CounterOpts{
		Name: "logux_log_dropped_lines_total", Help: "Log lines lost because the output was too slow or failed.",
	}, func() float64 { return float64(dropped()) })
	build := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "logux_build_info", Help: "1, labelled with the version.", ConstLabels: prometheus.Labels{"version": version()},
	}, func() float64 { return 1 })
	m.registry.MustRegister(lines, build,
		m.actionSeconds, m.authSeconds, m.backendSeconds, m.backendFirstByte, m.backendBatch,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	for _, outcome := range gateway.Outcomes {
		m.actionSeconds.WithLabelValues(outcome)
	}
	for _, outcome := range authOutcomes {
		m.authSeconds.WithLabelValues(outcome)
	}
	for _, status := range requestStatuses {
		m.backendSeconds.WithLabelValues(status)
	}
	return m
}

// actionDone is for gateway.Config.ActionDone.
func (m *metrics) actionDone(outcome string, took time.Duration) {
	m.actionSeconds.WithLabelValues(outcome).Observe(took.Seconds())
}

// authDone is for gateway.Config.AuthDone.
func (m *metrics) authDone(outcome string, took time.Duration) {
	m.authSeconds.WithLabelValues(outcome).Observe(took.Seconds())
}

// backendRequest is for backend.Config.Observe.
func (m *metrics) backendRequest(r backend.RequestInfo) {
	status := "none"
	if class := r.Status/100 - 2; class >= 0 && class < len(requestStatuses)-1 {
		status = requestStatuses[class]
		m.backendFirstByte.Observe(r.FirstByte.Seconds())
	}
	m.backendSeconds.WithLabelValues(status).Observe(r.Total.Seconds())
	m.backendBatch.Observe(float64(r.Commands))
}

// handler serves /metrics.
func (m *metrics) handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{Registry: m.registry, EnableOpenMetrics: true})
}
