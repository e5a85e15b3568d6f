// Package cluster installs the chart into a Kubernetes control plane on this machine: a real API server, scheduler and
// controllers, with machines and pods that are only objects (kwok). It shows what the chart's other tests cannot: that pods are
// admitted under Pod Security "restricted", that releases are upgraded, rolled back and removed, that budgets hold and that
// autoscaling follows our own metric. For the last, each pod is played by a process of the program.
//
// The tests have the build tag cluster: make chart-test.
package cluster
