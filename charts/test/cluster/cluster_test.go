//go:build cluster

package cluster

import (
	"flag"
	"testing"
)

var (
	bin     = flag.String("bin", "", "folder of Kubernetes' programs, as .ci/kubernetes prints it")
	program = flag.String("program", "../../../bin/logux-proxy", "the proxy")
	chart   = flag.String("chart", "../../logux-proxy", "the chart")
)

// One control plane for all, since each takes a while and 700 MB.
func TestCluster(t *testing.T) {
	p := startPlane(t)
	t.Run("values", p.testValues)
	t.Run("life", p.testLife)
	t.Run("disruption", p.testDisruption)
	t.Run("autoscaling", p.testAutoscaling)
}
