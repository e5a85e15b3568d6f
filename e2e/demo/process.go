package main

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"sync"
	"syscall"
	"time"
)

// A process is a program of the demo. It can be killed and started again.
type process struct {
	// Static
	name    string
	command func() *exec.Cmd
	answers func() bool // it is ready
	output  io.Writer

	mu  sync.Mutex
	now *life // guarded by mu; nil before the first start
}

// A life of a process is from its start to its end.
type life struct {
	cmd    *exec.Cmd
	exited chan struct{} // closed when it is gone
	err    error         // valid then
}

func (r *life) gone() bool {
	select {
	case <-r.exited:
		return true
	default:
		return false
	}
}

// start starts the process, unless it runs, and returns when it answers or ctx ends.
func (p *process) start(ctx context.Context) error {
	r, err := p.begin()
	if err != nil {
		return fmt.Errorf("starting %s: %w", p.name, err)
	}
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !p.answers() {
		select {
		case <-tick.C:
		case <-r.exited:
			return fmt.Errorf("%s did not start: %w", p.name, cmp.Or(r.err, errors.New("exit status 0")))
		case <-ctx.Done():
			return nil // the caller stops it
		}
	}
	return nil
}

func (p *process) begin() (*life, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.now != nil && !p.now.gone() {
		return p.now, nil
	}
	r := &life{cmd: p.command(), exited: make(chan struct{})}
	r.cmd.Stdout, r.cmd.Stderr = p.output, p.output
	// A group of its own, so that Ctrl+C reaches the demo alone, which then stops everything in order.
	r.cmd.SysProcAttr = ownGroup()
	if err := r.cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		r.err = r.cmd.Wait()
		close(r.exited)
	}()
	p.now = r
	return r, nil
}

// current is the last life; nil before the first.
func (p *process) current() *life {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.now
}

// pid is 0 when the process does not run.
func (p *process) pid() int {
	if r := p.current(); r != nil && !r.gone() {
		return r.cmd.Process.Pid
	}
	return 0
}

// kill ends the process at once, as a crash does.
func (p *process) kill() {
	if r := p.current(); r != nil && !r.gone() {
		_ = r.cmd.Process.Kill() // it may just have ended
		<-r.exited
	}
}

// stop ends the process in order.
func (p *process) stop() error {
	r := p.current()
	if r == nil || r.gone() {
		return nil
	}
	_ = r.cmd.Process.Signal(syscall.SIGTERM) // it may just have ended
	select {
	case <-r.exited:
	case <-time.After(10 * time.Second):
		p.kill()
	}
	if r.err != nil {
		return fmt.Errorf("stopping %s: %w", p.name, r.err)
	}
	return nil
}

// A prefixer writes whole lines with a name before each. Several may share a writer and its lock.
type prefixer struct {
	to     io.Writer
	lock   *sync.Mutex
	prefix string
	part   []byte // of a line that is not complete; guarded by lock
}

// Write implements io.Writer.
func (w *prefixer) Write(text []byte) (int, error) {
	w.lock.Lock()
	defer w.lock.Unlock()
	w.part = append(w.part, text...)
	for {
		i := bytes.IndexByte(w.part, '\n')
		if i < 0 {
			return len(text), nil
		}
		if _, err := fmt.Fprintf(w.to, "%s%s", w.prefix, w.part[:i+1]); err != nil {
			return 0, err
		}
		w.part = w.part[i+1:]
	}
}
