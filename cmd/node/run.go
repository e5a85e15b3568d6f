package main

import (
	"io"
	"os"

	"github.com/alecthomas/kong"
	"go.uber.org/zap"
)

// Run runs the proxy until the process is asked to stop.
func (r *runCommand) Run(p *process, ctx *kong.Context) error {
	c := &r.Config
	if err := c.complete(ctx, p.Env); err != nil {
		return err
	}
	sink := newLogSink(p.Stdout)
	log := newLogger(c, sink, colored(p.Stdout, p.Env))
	sink.report = func(lines int64) {
		log.Warn("Log lines were dropped because the output was too slow", zap.Int64("lines", lines))
	}
	go sink.Run()
	defer sink.Close()

	limitMemory(log)
	return runNode(p.Context, c, log, newMetrics(sink.Dropped))
}

// colored reports whether out is a terminal whose owner did not ask for plain text.
func colored(out io.Writer, env environment) bool {
	return env["NO_COLOR"] == "" && isTerminal(out, env)
}

// isTerminal reports whether out is a terminal that a line can be written over on.
func isTerminal(out io.Writer, env environment) bool {
	file, isFile := out.(*os.File)
	if !isFile || env["TERM"] == "dumb" {
		return false
	}
	info, err := file.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}
