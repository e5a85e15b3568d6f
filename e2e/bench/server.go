//go:build linux

package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"time"
)

// A server is what is measured: a process that was started for one scenario, or one that runs already.
type server struct {
	name    string
	client  netip.AddrPort // WebSocket
	path    string
	control netip.AddrPort
	admin   string // host:port; "" when not known
	posts   string // path of the control API
	process process

	cmd    *exec.Cmd // nil for a process of somebody else
	output *tail
	exited chan struct{} // closed when the process has ended; then err and output may be read
	err    error
}

// A program is a server that can be started: it reads the LOGUX_ variables of the environment.
type program struct {
	name string
	path string
}

// build compiles a command of this module into dir.
func build(ctx context.Context, dir, name, pkg string) (program, error) {
	p := program{name: name, path: filepath.Join(dir, name)}
	cmd := exec.CommandContext(ctx, "go", "build", "-o", p.path, pkg)
	if out, err := cmd.CombinedOutput(); err != nil {
		return p, fmt.Errorf("building %s: %w\n%s", pkg, err, out)
	}
	return p, nil
}

// start runs the program with settings for a measurement and waits until it accepts connections.
// More settings are those of this one server.
func (p program) start(ctx context.Context, o *options, backend string, more ...string) (*server, error) {
	port, err := freePort(ctx)
	if err != nil {
		return nil, err
	}
	admin, err := freePort(ctx)
	if err != nil {
		return nil, err
	}
	address := netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), port)
	s := &server{
		name: p.name, client: address, path: "/", control: address, posts: "/",
		admin:  fmt.Sprint("127.0.0.1:", admin),
		cmd:    exec.CommandContext(ctx, p.path),
		output: new(tail),
		exited: make(chan struct{}),
	}
	s.cmd.Env = append(os.Environ(),
		"LOGUX_HOST=127.0.0.1", fmt.Sprint("LOGUX_PORT=", port), "LOGUX_ADMIN_ADDR="+s.admin,
		"LOGUX_BACKEND="+backend, "LOGUX_CONTROL_SECRET="+o.secret,
		"LOGUX_ENV=production", "LOGUX_LOG_LEVEL=warn", "NODE_ENV=production",
	)
	s.cmd.Env = append(append(s.cmd.Env, o.env...), more...)
	s.cmd.Stdout, s.cmd.Stderr = s.output, s.output
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if o.serverCPU >= 0 {
		err = startPinned(s.cmd, o.serverCPU)
	} else {
		err = s.cmd.Start()
	}
	if err != nil {
		return nil, fmt.Errorf("starting %s: %w", p.path, err)
	}
	s.process = process{pid: s.cmd.Process.Pid}
	go func() {
		s.err = s.cmd.Wait()
		close(s.exited)
	}()

	limit := time.After(10 * time.Second)
	for {
		conn, err := (&net.Dialer{Timeout: time.Second}).DialContext(ctx, "tcp", address.String())
		if err == nil {
			return s, conn.Close()
		}
		select {
		case <-s.exited:
			return nil, s.died()
		case <-limit:
			s.stop()
			return nil, fmt.Errorf("%s does not listen after 10 s\n%s", p.path, s.output.text)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// stop ends a process that start began: kindly, and after five seconds by force.
func (s *server) stop() {
	if s.cmd == nil {
		return
	}
	_ = s.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-s.exited:
		return
	case <-time.After(5 * time.Second):
	}
	_ = s.cmd.Process.Kill()
	<-s.exited
}

// died reports whether a process that start began has ended, and its last words.
func (s *server) died() error {
	if s.cmd == nil {
		return nil
	}
	select {
	case <-s.exited:
		return fmt.Errorf("%s ended: %w\n%s", s.name, cmp.Or(s.err, errors.New("exit status 0")), s.output.text)
	default:
		return nil
	}
}

// running describes a server that was started by somebody else.
func running(o *options) (*server, error) {
	s := &server{name: o.url, admin: o.admin, process: process{pid: o.pid}}
	var err error
	if s.client, s.path, err = address(o.url, "ws"); err != nil {
		return nil, err
	}
	s.control, s.posts = s.client, "/"
	if o.control != "" {
		s.control, s.posts, err = address(o.control, "http")
	}
	return s, err
}

func address(text, scheme string) (netip.AddrPort, string, error) {
	u, err := url.Parse(text)
	if err != nil {
		return netip.AddrPort{}, "", err
	}
	if u.Scheme != scheme {
		return netip.AddrPort{}, "", fmt.Errorf("%s: only %s: is spoken", text, scheme)
	}
	port := u.Port()
	if port == "" {
		port = "80"
	}
	resolved, err := net.ResolveTCPAddr("tcp", net.JoinHostPort(u.Hostname(), port))
	if err != nil {
		return netip.AddrPort{}, "", err
	}
	a := resolved.AddrPort()
	path := u.RequestURI()
	return netip.AddrPortFrom(a.Addr().Unmap(), a.Port()), path, nil
}

func freePort(ctx context.Context) (uint16, error) {
	// A process that is being started holds what was open at its fork, this listener too, until it runs its program.
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	tcp, ok := l.Addr().(*net.TCPAddr)
	if !ok {
		return 0, errors.New("no TCP address: " + strconv.Quote(l.Addr().String()))
	}
	return uint16(tcp.Port), l.Close()
}

// A tail keeps the last of what a process prints.
type tail struct{ text []byte }

func (t *tail) Write(p []byte) (int, error) {
	t.text = append(t.text, p...)
	t.text = t.text[max(len(t.text)-2000, 0):]
	return len(p), nil
}
