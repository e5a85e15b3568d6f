// Package rehearsal plays a day of a fleet in five minutes on one machine, without Kubernetes: nodes behind a HAProxy that asks /readyz, clients that become
// three times as many and go again, an autoscaler that reads our metric as a HorizontalPodAutoscaler would, drains, and rebalancing. All clients write one
// history, which is judged at the end.
//
// The play itself is a test with the build tag rehearsal: make rehearsal.
package rehearsal
