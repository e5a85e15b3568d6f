//go:build linux

package transport

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/gobwas/ws"
	"go.uber.org/zap"
	"golang.org/x/sys/unix"
)

// fewDescriptors makes the test binary a server with few descriptors: the limit cannot be lowered
// for a part of a process.
const fewDescriptors = "TRANSPORT_TEST_FEW_DESCRIPTORS"

func init() {
	if os.Getenv(fewDescriptors) == "" {
		return
	}
	err := serveWithFewDescriptors()
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}

// serveWithFewDescriptors echoes until it is killed. It says on standard output where it listens, and what its time on
// the processor is whenever it is given a line.
func serveWithFewDescriptors() error {
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: 64, Max: 64}); err != nil {
		return err
	}
	s, err := New(Config{
		Addr: "127.0.0.1:0", Loops: 2, NewHandler: func(*Loop) Handler { return &script{message: echo} },
		Log: zap.Must(zap.NewProduction()),
	})
	if err != nil {
		return err
	}
	fmt.Println(s.Addr())
	go func() {
		in := bufio.NewScanner(os.Stdin)
		for in.Scan() {
			var u unix.Rusage
			if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
				fmt.Println(err)
			}
			fmt.Println(time.Duration(u.Utime.Nano()+u.Stime.Nano()), s.Stats().Turns)
		}
		os.Exit(0)
	}()
	return s.Run(context.Background())
}

func TestNoDescriptorsLeft(t *testing.T) {
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), exe)
	cmd.Env = append(os.Environ(), fewDescriptors+"=1")
	var log strings.Builder // read when the process has ended
	cmd.Stderr = &log
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	line := func() string {
		t.Helper()
		if !lines.Scan() {
			t.Fatal("the server has ended")
		}
		return lines.Text()
	}
	addr := line()
	usage := func() (cpu time.Duration, turns int) {
		t.Helper()
		if _, err := fmt.Fprintln(in); err != nil {
			t.Fatal(err)
		}
		fields := strings.Fields(line())
		cpu, err := time.ParseDuration(fields[0])
		if err != nil {
			t.Fatal(err)
		}
		if _, err := fmt.Sscan(fields[1], &turns); err != nil {
			t.Fatal(err)
		}
		return cpu, turns
	}

	var served, waiting []*client
	for range 80 {
		conn, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err) // the kernel accepts what the process cannot
		}
		c := wrap(t, conn)
		c.raw(handshake() + string(text("hello")))
		waiting = append(waiting, c)
	}
	// The first come is the first served, until the descriptors are used up.
	for len(waiting) > 0 {
		c := waiting[0]
		if err := c.SetReadDeadline(time.Now().Add(time.Second)); err != nil {
			t.Fatal(err)
		}
		if _, err := c.r.Peek(1); err != nil {
			if !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Fatal(err)
			}
			break
		}
		if err := c.SetReadDeadline(time.Now().Add(patience)); err != nil {
			t.Fatal(err)
		}
		served, waiting = append(served, c), waiting[1:]
		c.response()
		c.expect(ws.OpText, "hello")
	}
	if len(served) < 20 || len(waiting) < 20 {
		t.Fatalf("%d served, %d waiting", len(served), len(waiting))
	}
	// It does not spin: the listener is readable all the time, and looked at ten times a second.
	_, turns := usage()
	began := time.Now()
	for range 10 { // those inside are served meanwhile
		for _, c := range served {
			c.send("still here")
			c.expect(ws.OpText, "still here")
		}
	}
	_, after := usage()
	if bound := 2*10*len(served) + int(time.Since(began)/acceptPause+1)*10 + 100; after-turns > bound {
		t.Errorf("%d turns for %d messages", after-turns, 10*len(served))
	}
	// Descriptors that come free are given to those who wait.
	for len(waiting) > 0 {
		_ = served[0].Close()
		served = served[1:]
		c := waiting[0]
		if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
			t.Fatal(err)
		}
		c.response()
		c.expect(ws.OpText, "hello")
		served, waiting = append(served, c), waiting[1:]
	}
	if err := in.Close(); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
	if n := strings.Count(log.String(), "\n"); n == 0 || n > int(time.Since(began)/time.Second)+5 {
		t.Errorf("%d log lines: %s", n, log.String())
	}
}
