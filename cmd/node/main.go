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
)

// Exit codes.
const (
	exitOK      = 0
	exitFailed  = 1 // something went wrong at work
	exitSetting = 2 // a setting is wrong: nothing was started
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	// The first signal asks for an orderly stop. It also gives the signals back to the system, so
	// that a second one ends the process at once.
	context.AfterFunc(ctx, stop)
	os.Exit(run(ctx, os.Args[1:], os.Environ(), os.Stdout, os.Stderr))
}

// run is the program, but for what belongs to the process. It returns the exit code.
func run(ctx context.Context, args, environ []string, stdout, stderr io.Writer) int {
	err := runCommandLine(ctx, args, environ, stdout, stderr)
	if err == nil {
		return exitOK
	}
	fmt.Fprintln(stderr, "logux-proxy:", oneLine(err.Error())) //nolint:errcheck // there is nowhere else to say it
	if setting := (*settingError)(nil); errors.As(err, &setting) {
		return exitSetting
	}
	return exitFailed
}

func runCommandLine(ctx context.Context, args, environ []string, stdout, stderr io.Writer) error {
	env, err := readEnvironment(environ, ".")
	if err != nil {
		return err
	}
	p := &process{Context: ctx, Env: env, Stdout: stdout, Stderr: stderr}
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
