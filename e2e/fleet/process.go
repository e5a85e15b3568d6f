package fleet

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"testing"
	"time"
)

// Patience bounds every wait for something that must come. It is long because the machine may be busy; a test that holds never waits it out.
const Patience = 60 * time.Second

// Await returns when cond holds, which is asked every 20 milliseconds, and fails the test when it does not come to hold.
func Await(t testing.TB, what string, cond func() bool) {
	t.Helper()
	if !Within(Patience, cond) {
		t.Fatalf("waited %v in vain: %s", Patience, what)
	}
}

// Within reports whether cond comes to hold within d.
func Within(d time.Duration, cond func() bool) bool {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	deadline := time.NewTimer(d)
	defer deadline.Stop()
	for !cond() {
		select {
		case <-tick.C:
		case <-deadline.C:
			return cond()
		}
	}
	return true
}

// A process is one that this test started. It goes with the test, however that ends.
type process struct {
	cmd    *exec.Cmd
	log    *output
	exited chan struct{} // closed when the process is gone
	code   int           // valid then
}

// start runs a command in a network namespace; "" is the test's own.
func start(namespace, dir string, env []string, log *output, name string, args ...string) (*process, error) {
	if namespace != "" {
		name, args = "ip", append([]string{"netns", "exec", namespace, name}, args...)
	}
	p := &process{cmd: exec.Command(name, args...), log: log, exited: make(chan struct{})}
	p.cmd.Env, p.cmd.Dir = env, dir
	p.cmd.Stdout, p.cmd.Stderr = log, log
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("fleet: starting %s: %w", name, err)
	}
	go func() {
		defer close(p.exited)
		_ = p.cmd.Wait()
		p.code = p.cmd.ProcessState.ExitCode()
	}()
	return p, nil
}

func (p *process) signal(s os.Signal) { _ = p.cmd.Process.Signal(s) }

func (p *process) gone() bool {
	select {
	case <-p.exited:
		return true
	default:
		return false
	}
}

// kill is kill -9, also of a stopped process.
func (p *process) kill() {
	p.signal(syscall.SIGKILL)
	<-p.exited
}

// An output keeps what processes print, up to a limit.
type output struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

const maxOutput = 64 << 20

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.buf.Len() < maxOutput {
		o.buf.Write(p)
	}
	return len(p), nil
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.String()
}

func (o *output) tail(n int) string {
	s := o.String()
	if len(s) > n {
		s = "…" + s[len(s)-n:]
	}
	return s
}

var ports struct {
	mu   sync.Mutex
	used map[int]bool
}

// freePort is a port below those that the kernel gives to outgoing connections, at which nobody listens by TCP or UDP, nor by TCP 10,000 above, where a
// Redis Cluster has its bus. None is given twice.
func freePort(t testing.TB) int {
	t.Helper()
	ports.mu.Lock()
	defer ports.mu.Unlock()
	if ports.used == nil {
		ports.used = make(map[int]bool)
	}
	for range 1000 {
		port := 12000 + int(time.Now().UnixNano()/1000)%9000
		if ports.used[port] {
			continue
		}
		ports.used[port] = true
		if free(port) {
			return port
		}
	}
	t.Fatal("no free port")
	return 0
}

func free(port int) bool {
	// A process that is being started holds what was open at its fork, these listeners too, until it runs its program.
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	addr := fmt.Sprintf("127.0.0.1:%d", port)
	for _, tcp := range []string{addr, fmt.Sprintf("127.0.0.1:%d", port+10_000)} {
		l, err := net.Listen("tcp", tcp)
		if err != nil {
			return false
		}
		_ = l.Close()
	}
	l, err := net.ListenPacket("udp", addr)
	if err != nil {
		return false
	}
	_ = l.Close()
	return true
}
