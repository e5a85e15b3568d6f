package main

import (
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/alecthomas/kong"
)

// checkPatience is how long the back-end, Redis and other nodes may take to answer, each.
const checkPatience = 5 * time.Second

type checkCommand struct {
	Running bool `help:"A node runs here with these settings already: do not ask whether its ports are free."`
	Config
}

// Help implements kong.HelpProvider.
func (checkCommand) Help() string {
	return `It takes the flags and variables of the proxy, reads them as the start does, and tries what
they lead to: the ports, the back-end with the secret (a request without commands), Redis
with everything that its user has to be allowed, the other nodes, the collector of traces.
A line for each:

  ok     it will work
  warn   it works, or may, and is probably not what was meant
  wrong  what is wrong; how to mend it

The exit code is 0 without a wrong, 1 with one, and 2 when a setting is wrong, which is the
one line that the start would end with. Nothing is left behind and no client is disturbed.`
}

// Run checks and prints.
func (k *checkCommand) Run(p *process, ctx *kong.Context) error {
	c := &k.Config
	if err := c.complete(ctx, p.Env); err != nil {
		return err
	}
	r := &report{out: p.Stdout}
	checkSettings(r, c)
	checkCertificate(r, c, time.Now())
	if !k.Running {
		checkPorts(r, c)
	}
	checkBackend(p.Context, r, c)
	checkRedis(p.Context, r, c)
	checkPeers(p.Context, r, c)
	checkCollector(p.Context, r, c)
	return r.end()
}

// A checkVerdict is the first word of a line.
type checkVerdict string

const (
	checkOK    checkVerdict = "ok"
	checkWarn  checkVerdict = "warn"
	checkWrong checkVerdict = "wrong"
)

// A report prints a line for each thing that was checked, as soon as it is known.
type report struct {
	out   io.Writer
	wrong int
	err   error // of writing
}

// say prints one line; what is the thing's name.
func (r *report) say(v checkVerdict, what, text string) {
	if v == checkWrong {
		r.wrong++
	}
	if _, err := fmt.Fprintf(r.out, "%-6s %-12s %s\n", v, what, oneLine(text)); err != nil && r.err == nil {
		r.err = err
	}
}

// fail prints what is wrong and how to mend it.
func (r *report) fail(what, wrong, mend string) { r.say(checkWrong, what, wrong+"; "+mend) }

// end says whether all is well.
func (r *report) end() error {
	if r.err != nil {
		return r.err
	}
	if r.wrong > 0 {
		return errors.New(count(r.wrong, "thing") + " to mend")
	}
	return nil
}

// checkSettings says what the settings mean, and what is odd about them.
func checkSettings(r *report, c *Config) {
	text := c.Env + ", WebSocket at " + c.listenAddr()
	if c.Key != "" {
		text += " with TLS"
	}
	if c.Redis == nil {
		text += ", a single node"
	}
	r.say(checkOK, "settings", text)
	for _, w := range c.Warnings {
		r.say(checkWarn, "settings", w.Message+". "+w.Hint)
	}
}
