// Command logux-proxy stands between Logux clients and an HTTP back-end.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"
)

// Exit codes.
const (
	exitOK      = 0
	exitFailed  = 1 // something went wrong at work
	exitSetting = 2 // a setting is wrong: nothing was started
)

// sameSignal is how long after the first signal another one is taken for the same.
const sameSignal = 10 * time.Millisecond

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	// The first signal asks for an orderly stop. A moment later the signals go back to the system, so
	// that another one ends the process at once. Not sooner: timeout(1), and a terminal's Ctrl-C under
	// make or npm, deliver one signal twice.
	context.AfterFunc(ctx, func() {
		time.Sleep(sameSignal)
		stop()
	})
	// A reader of the log that goes away must not end the proxy; writing then fails and is counted.
	signal.Ignore(syscall.SIGPIPE)
	os.Exit(run(ctx, os.Args[1:], os.Environ(), os.Stdin, os.Stdout, os.Stderr))
}

// run is the program, but for what belongs to the process. It returns the exit code.
func run(ctx context.Context, args, environ []string, stdin io.Reader, stdout, stderr io.Writer) int {
	err := runCommandLine(ctx, args, environ, stdin, stdout, stderr)
	if err == nil {
		return exitOK
	}
	fmt.Fprintln(stderr, "logux-proxy:", oneLine(err.Error())) //nolint:errcheck // there is nowhere else to say it
	if setting := (*settingError)(nil); errors.As(err, &setting) {
		return exitSetting
	}
	return exitFailed
}

func runCommandLine(ctx context.Context, args, environ []string, stdin io.Reader, stdout, stderr io.Writer) error {
	env, err := readEnvironment(environ, ".")
	if err != nil {
		return err
	}
	p := &process{Context: ctx, Env: env, Stdin: stdin, Stdout: stdout, Stderr: stderr}
	var line commandLine
	command, err := parseCommandLine(&line, args, p)
	if errors.Is(err, errHelp) {
		return nil
	}
	if err != nil {
		return err
	}
	return command.Run(p, command)
}
