// Package dashboard shows the chart's Grafana dashboard without Grafana: a real Prometheus reads real nodes while the back-end, Redis and a node break one after
// another, each panel's queries are asked as Grafana would, and the answers are drawn where the panels are. A panel without an answer fails the test, and the
// picture is for looking at.
//
// The play is a test with the build tag dashboard: make dashboard.
package dashboard
