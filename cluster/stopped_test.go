package cluster

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"logux-proxy/wire"
)

// memberEnv makes the test's program a member of the cluster at that address, until its input ends.
const memberEnv = "CLUSTER_TEST_JOIN"

func runMember(join string) {
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		cancel()
	}()
	m, err := NewMembers(MembersConfig{Self: wire.NewServerID("server:child", time.Now()), Bind: "127.0.0.1:0", Join: []string{join}, tune: quick})
	if err == nil {
		err = m.Run(ctx)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// A process that is stopped is dead to the others, and a member again when it goes on. One that is killed stays dead.
// One that ends says goodbye.
func TestStoppedProcess(t *testing.T) {
	a := start(t, "a", func(c *MembersConfig) { c.tune = quick }, LinksConfig{})
	spawn := func() (*exec.Cmd, io.Closer) {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), memberEnv+"="+a.addr)
		cmd.Stderr = os.Stderr
		in, err := cmd.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = cmd.Process.Kill() })
		return cmd, in
	}
	there := func(v *View) bool {
		for _, m := range v.Members {
			if strings.HasPrefix(string(m.ID), "server:child/") {
				return true
			}
		}
		return false
	}
	gone := func(v *View) bool { return !there(v) }
	want := func(what string, good func(*View) bool) {
		t.Helper()
		if !a.until(waitTime, good) {
			t.Fatalf("%s: the members are %v", what, a.members.View().Members)
		}
	}
	child, in := spawn()
	want("started", there)
	if err := child.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	want("stopped", gone)
	if err := child.Process.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	want("continued", there)
	if err := in.Close(); err != nil {
		t.Fatal(err)
	}
	want("ended", gone)
	if err := child.Wait(); err != nil {
		t.Error(err)
	}
	child, _ = spawn()
	want("started again", there)
	_ = child.Process.Kill()
	want("killed", gone)
	_ = child.Wait()
}
