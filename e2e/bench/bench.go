//go:build linux

package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// A bench is one call of the program.
type bench struct {
	ctx context.Context
	o   *options

	results []*result
	runs    int
}

// stopped reports whether the user has had enough.
func (b *bench) stopped() bool { return b.ctx.Err() != nil }

// run does what the options say and prints the table. It reports whether nothing was lost or doubled.
func (b *bench) run() (ok bool, err error) {
	chosen, err := b.o.chosen()
	if err != nil {
		return false, err
	}
	programs, cleanup, err := b.programs()
	if err != nil {
		return false, err
	}
	defer cleanup()
	if b.o.pin {
		if err := pinSelf(1); err != nil {
			return false, err
		}
	}
	for round := range b.o.rounds {
		for _, s := range chosen {
			for i, p := range programs {
				// The bare program knows no back-end and no bounds: it is there for these two only.
				if i > 0 && s.name != "idle" && s.name != "fanout" || s.cluster && b.skips(s) {
					continue
				}
				if b.stopped() {
					return false, b.ctx.Err()
				}
				fmt.Fprintf(os.Stderr, "round %d: %s on %s\n", round+1, s.name, p.name)
				if err := b.measure(s, p); err != nil {
					return false, err
				}
			}
		}
	}
	fmt.Println(b.conditions())
	fmt.Print(table(b.results))
	ok = true
	for _, r := range b.results {
		for _, fault := range r.faults {
			fmt.Printf("FAULT  %s  %s\n", r.server, fault)
			ok = false
		}
	}
	return ok, nil
}

// skips reports that a scenario of a cluster cannot run, and was not asked for by name.
func (b *bench) skips(s scenario) bool {
	if b.o.scenarios != "all" {
		return false
	}
	why := "it starts its own servers"
	if b.o.url == "" {
		_, err := exec.LookPath(redisServer)
		if err == nil {
			return false
		}
		why = err.Error()
	}
	fmt.Fprintf(os.Stderr, "%s is left out: %s\n", s.name, why)
	return true
}

// conditions are what a reader has to know to compare the figures with others.
func (b *bench) conditions() string {
	var kernel unix.Utsname
	_ = unix.Uname(&kernel)
	place := "server and clients on any CPU"
	if b.o.pin {
		place = "server on CPU 0, clients on CPU 1"
	}
	return fmt.Sprintf("%s, %d CPUs, Linux %s, %s, rounds of %s: %d, back-end answers after %s",
		time.Now().UTC().Format(time.DateTime), runtime.NumCPU(), unix.ByteSliceToString(kernel.Release[:]), place, b.o.time, b.o.rounds, b.o.delay)
}

// programs returns what is to be measured; the first is the server under test.
func (b *bench) programs() (programs []program, cleanup func(), err error) {
	if b.o.url != "" {
		return []program{{name: b.o.url}}, func() {}, nil
	}
	dir, err := os.MkdirTemp("", "bench")
	if err != nil {
		return nil, nil, err
	}
	cleanup = func() { _ = os.RemoveAll(dir) }
	defer func() {
		if err != nil {
			cleanup()
		}
	}()
	p := program{name: "server", path: b.o.server}
	if b.o.server == "" {
		if p, err = build(b.ctx, dir, "logux-proxy", "logux-proxy/cmd/node"); err != nil {
			return nil, nil, err
		}
	}
	programs = append(programs, p)
	if b.o.compare != "" {
		if p, err = build(b.ctx, dir, "bare", "logux-proxy/e2e/bare"); err != nil {
			return nil, nil, err
		}
		programs = append(programs, p)
	}
	return programs, cleanup, nil
}

// measure runs one scenario on one server, which it starts and ends.
func (b *bench) measure(s scenario, p program) error {
	stub, err := newStub(b.ctx, b.o.backend, b.o.delay)
	if err != nil {
		return err
	}
	defer stub.close()
	var to *server
	if s.cluster {
		to = &server{name: p.name}
	} else if b.o.url != "" {
		to, err = running(b.o)
	} else {
		to, err = p.start(b.ctx, b.o, stub.url())
	}
	if err != nil {
		return err
	}
	defer to.stop()

	b.runs++
	m := &measurement{
		result: &result{scenario: s.name, server: p.name},
		server: to, stub: stub,
		name:    strconv.Itoa(os.Getpid()) + "-" + strconv.Itoa(b.runs) + "-",
		program: p,
	}
	b.results = append(b.results, m.result)
	machine0, cpu0, self0, start := readMachine(), to.process.cpu(), process{pid: os.Getpid()}.cpu(), now()
	s.run(b, m)
	if m.fleet != nil {
		m.fleet.close()
	}
	if err := to.died(); err != nil {
		m.faults = append(m.faults, s.name+": "+err.Error())
	}
	// What else went on, by which to judge how far the figures can be trusted.
	machine1 := readMachine()
	if all := (machine1.all - machine0.all).Seconds(); all > 0 {
		others := machine1.busy - machine0.busy - (to.process.cpu() - cpu0) - m.spent - (process{pid: os.Getpid()}.cpu() - self0)
		m.add("others_cpu_pct_of_machine", max(others.Seconds(), 0)/all*100)
		m.add("steal_pct_of_machine", (machine1.stolen-machine0.stolen).Seconds()/all*100)
	}
	m.add("took_s", time.Duration(now()-start).Seconds())
	return nil
}
