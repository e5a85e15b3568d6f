package fleet

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// A Network gives every node a host of its own: a network namespace on a bridge with the test. It can cut two of them from each other, without a word
// to either: what they send vanishes. It needs root.
type Network struct {
	t      testing.TB
	name   string // of the bridge; begins the names of the namespaces
	subnet string // "10.1.2."
	hosts  int
}

// NewNetwork makes n hosts, which go with the test.
func NewNetwork(t testing.TB, n int) *Network {
	t.Helper()
	id := time.Now().UnixNano() / 1000 % (200 * 250)
	w := &Network{t: t, name: fmt.Sprintf("lgx%d", id), subnet: fmt.Sprintf("10.%d.%d.", 20+id/250, id%250), hosts: n}
	t.Cleanup(func() {
		for i := range n {
			_ = exec.Command("ip", "netns", "del", w.namespace(i)).Run()
			_ = os.RemoveAll(w.etc(i))
		}
		_ = exec.Command("ip", "link", "del", w.name).Run()
	})
	w.ip("link", "add", w.name, "type", "bridge")
	w.ip("addr", "add", w.Host()+"/24", "dev", w.name)
	w.ip("link", "set", w.name, "up")
	for i := range n {
		space, veth := w.namespace(i), fmt.Sprintf("%sv%d", w.name, i)
		w.ip("netns", "add", space)
		w.ip("link", "add", veth, "type", "veth", "peer", "name", "eth0", "netns", space)
		w.ip("link", "set", veth, "master", w.name, "up")
		w.in(i, "addr", "add", w.addr(i)+"/24", "dev", "eth0")
		w.in(i, "link", "set", "eth0", "up")
		w.in(i, "link", "set", "lo", "up")
	}
	return w
}

func (w *Network) ip(args ...string) {
	w.t.Helper()
	if out, err := exec.Command("ip", args...).CombinedOutput(); err != nil {
		w.t.Fatalf("ip %s (it needs root): %v\n%s", strings.Join(args, " "), err, out)
	}
}

// in is ip in the namespace of host i.
func (w *Network) in(i int, args ...string) {
	w.t.Helper()
	w.ip(append([]string{"-n", w.namespace(i)}, args...)...)
}

func (w *Network) namespace(i int) string { return fmt.Sprintf("%s-%d", w.name, i) }

func (w *Network) addr(i int) string { return fmt.Sprintf("%s%d", w.subnet, i+2) }

// Host is the address of the test itself.
func (w *Network) Host() string { return w.subnet + "1" }

func (w *Network) node(i int) (host, namespace string) {
	w.t.Helper()
	if i >= w.hosts {
		w.t.Fatalf("the network has %d hosts", w.hosts)
	}
	return w.addr(i), w.namespace(i)
}

// etc is the directory whose files stand in for those of /etc on host i.
func (w *Network) etc(i int) string { return filepath.Join("/etc/netns", w.namespace(i)) }

// Resolve says which hosts name stands for on host i; none: there is no such name. No other name but localhost resolves there.
func (w *Network) Resolve(i int, name string, hosts ...int) {
	w.t.Helper()
	text := "127.0.0.1 localhost\n"
	for _, h := range hosts {
		text += w.addr(h) + " " + name + "\n"
	}
	// Nothing listens there: what is not in the file is refused at once.
	for file, text := range map[string]string{"hosts": text, "resolv.conf": "nameserver 127.0.0.1\noptions attempts:1 timeout:1\n"} {
		if err := os.MkdirAll(w.etc(i), 0o755); err != nil {
			w.t.Fatal(err)
		}
		// In place: a process sees the file that was there when it began.
		if err := os.WriteFile(filepath.Join(w.etc(i), file), []byte(text), 0o644); err != nil {
			w.t.Fatal(err)
		}
	}
}

// nowhere is the address of no card.
const nowhere = "02:00:00:00:00:99"

// Cut lets nothing pass between the a-th and the b-th host, from 0.
func (w *Network) Cut(a, b int) {
	w.t.Helper()
	w.in(a, "neigh", "replace", w.addr(b), "lladdr", nowhere, "nud", "permanent", "dev", "eth0")
	w.in(b, "neigh", "replace", w.addr(a), "lladdr", nowhere, "nud", "permanent", "dev", "eth0")
}

// Mend ends a cut.
func (w *Network) Mend(a, b int) {
	w.t.Helper()
	w.in(a, "neigh", "del", w.addr(b), "dev", "eth0")
	w.in(b, "neigh", "del", w.addr(a), "dev", "eth0")
}
