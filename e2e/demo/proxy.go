package main

import (
	"context"
	cryptorand "crypto/rand"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"syscall"
	"time"
)

// rand returns a secret for one run.
func rand() string { return cryptorand.Text() }

// A process is the running proxy.
type process struct {
	cmd    *exec.Cmd
	exited chan struct{} // closed when it is gone
	err    error         // valid then
}

// startProxy starts the proxy and returns when it answers.
func startProxy(ctx context.Context, s settings, backend, secret string) (*process, error) {
	host, port, err := net.SplitHostPort(s.proxy)
	if err != nil {
		return nil, fmt.Errorf("reading the proxy's address: %w", err)
	}
	p := &process{exited: make(chan struct{}), cmd: exec.Command(s.binary)}
	p.cmd.Env = append(os.Environ(),
		"LOGUX_HOST="+host, "LOGUX_PORT="+port, "LOGUX_ADMIN_ADDR="+s.admin, "LOGUX_BACKEND="+backend, "LOGUX_CONTROL_SECRET="+secret,
		"LOGUX_ENV=development", "LOGUX_DRAIN_GRACE=0s", "LOGUX_DRAIN_TIME=1s")
	p.cmd.Stdout, p.cmd.Stderr = os.Stdout, os.Stderr
	// A group of its own, so that Ctrl+C reaches the demo alone, which then stops the proxy in order.
	p.cmd.SysProcAttr = ownGroup()
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("starting the proxy: %w", err)
	}
	go func() {
		p.err = p.cmd.Wait()
		close(p.exited)
	}()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		if res, err := http.Get("http://" + s.proxy + "/health"); err == nil {
			_ = res.Body.Close()
			return p, nil
		}
		select {
		case <-tick.C:
		case <-p.exited:
			return nil, fmt.Errorf("the proxy did not start: %w", p.err)
		case <-ctx.Done():
			return p, nil // the caller stops it
		}
	}
}

// stop ends the proxy in order.
func (p *process) stop() error {
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return fmt.Errorf("stopping the proxy: %w", err)
	}
	select {
	case <-p.exited:
	case <-time.After(10 * time.Second):
		_ = p.cmd.Process.Kill()
		<-p.exited
	}
	if p.err != nil {
		return fmt.Errorf("stopping the proxy: %w", p.err)
	}
	return nil
}
