package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/alecthomas/kong"
)

const about = `Usage: logux-proxy [flags]
       logux-proxy COMMAND [flags]

A Logux proxy: it speaks WebSocket with Logux clients and HTTP with your back-end.
To begin:

  LOGUX_CONTROL_SECRET=secret logux-proxy --backend http://127.0.0.1:3000/logux

Without a command it runs the proxy. The commands, each with a --help of its own:

  bench       Load any Logux server with many clients, and measure it.
  check       Try settings, back-end, Redis and other nodes before a start.
  cluster     Show all nodes; drain one; disconnect a user.
  completion  Print a script that lets a shell complete commands and flags.
  health      Ask the node here whether it lives, for a container's health check.
  man         Print the manual page, which holds all helps.
  send        Send one action to clients.
  version     Print the version.

Every flag is also an environment variable (--backend-hold is LOGUX_BACKEND_HOLD),
and may stand in a file .env in the working directory. Flags win over variables,
variables over the file. Times are written as 30s, sizes as 1MB or 64KiB, lists
with commas.
`

// commandLine is the program's commands. Without the name of one it runs the proxy.
type commandLine struct {
	Help helpFlag `help:"Show this help."`

	Run           runCommand           `cmd:"" default:"withargs"`
	Bench         benchCommand         `cmd:"" help:"Load any Logux server with many clients, and measure it."`
	Check         checkCommand         `cmd:"" help:"Try settings, back-end, Redis and other nodes before a start."`
	Cluster       clusterCommand       `cmd:"" help:"Show all nodes; drain one; disconnect a user."`
	Completion    completionCommand    `cmd:"" help:"Print a script that lets a shell complete commands and flags."`
	Health        healthCommand        `cmd:"" help:"Ask the node of this machine whether it lives."`
	Man           manCommand           `cmd:"" help:"Print the manual page, which holds all helps."`
	Send          sendCommand          `cmd:"" help:"Send one action to clients, as the back-end does."`
	Version       versionCommand       `cmd:"" help:"Print the version."`
	CompleteWords completeWordsCommand `cmd:"" hidden:"" passthrough:"" help:"Tell a shell what a word may become."`
	SettingsTable settingsTableCommand `cmd:"" hidden:"" help:"Print the README's table of settings."`
}

// A process is what commands have of the world.
type process struct {
	Context context.Context
	Env     environment
	Stdin   io.Reader
	Stdout  io.Writer
	Stderr  io.Writer
}

type runCommand struct {
	Config
}

type versionCommand struct{}

type settingsTableCommand struct{}

// Run prints the version.
func (versionCommand) Run(p *process) error {
	_, err := fmt.Fprintln(p.Stdout, "logux-proxy", version())
	return err
}

// Run prints the table.
func (settingsTableCommand) Run(p *process) error {
	_, err := io.WriteString(p.Stdout, settingsTable())
	return err
}

// errHelp ends the parsing after the help was printed.
var errHelp = errors.New("help was asked for")

// helpFlag is kong's own without its -h, which means --host as in @logux/server.
type helpFlag bool

// BeforeReset prints the help of the command, before anything could be wrong.
func (helpFlag) BeforeReset(ctx *kong.Context) error {
	_ = ctx.PrintUsage(false) // whoever reads it may have read enough, as head does
	return errHelp
}

// printHelp introduces the program when the help is not about a command other than run.
func printHelp(options kong.HelpOptions, ctx *kong.Context) error {
	if selected := ctx.Selected(); selected == nil || selected == ctx.Model.DefaultCmd {
		if _, err := io.WriteString(ctx.Stdout, about); err != nil {
			return err
		}
		options.NoAppSummary = true
	}
	options.ValueFormatter = helpWithDefault
	return kong.DefaultHelpPrinter(options, ctx)
}

var settingGroups = []kong.Group{
	{Key: "listen", Title: "Listening:"},
	{Key: "backend", Title: "Back-end:"},
	{Key: "client", Title: "Clients:"},
	{Key: "limit", Title: "Limits:"},
	{Key: "cluster", Title: "Cluster:"},
	{Key: "operation", Title: "Operation:"},
}

var benchGroups = []kong.Group{
	{Key: "load", Title: "Load:"},
	{Key: "who", Title: "Clients and what they do:"},
	{Key: "network", Title: "Way to the server:"},
	{Key: "verdict", Title: "Verdict:"},
}

// isSetting reports whether a flag is a setting of the proxy, and none of a command's own.
func isSetting(flag *kong.Flag) bool {
	return flag.Group != nil && slices.ContainsFunc(settingGroups, func(g kong.Group) bool { return g.Key == flag.Group.Key })
}

// newParser returns a parser into line that takes what is not on the command line from env.
func newParser(line *commandLine, env environment, stdout, stderr io.Writer) (*kong.Kong, error) {
	options := append(valueMappers(),
		kong.Name("logux-proxy"),
		kong.NoDefaultHelp(),
		kong.Help(printHelp),
		kong.ConfigureHelp(kong.HelpOptions{WrapUpperBound: 110}),
		kong.ExplicitGroups(slices.Concat(settingGroups, benchGroups)),
		kong.Writers(stdout, stderr),
		kong.Resolvers(kong.ResolverFunc(func(_ *kong.Context, _ *kong.Path, flag *kong.Flag) (any, error) {
			if !isSetting(flag) {
				return nil, nil
			}
			if value, found := env[envName(flag.Name)]; found {
				return value, nil
			}
			return nil, nil
		})),
	)
	return kong.New(line, options...)
}

// parseCommandLine reads args and env into line. It returns errHelp when the help was printed;
// every other error is a *settingError.
func parseCommandLine(line *commandLine, args []string, p *process) (*kong.Context, error) {
	parser, err := newParser(line, p.Env, p.Stdout, p.Stderr)
	if err != nil {
		return nil, err
	}
	ctx, err := parser.Parse(args)
	if err == nil {
		return ctx, nil
	}
	if errors.Is(err, errHelp) {
		return nil, errHelp
	}
	if setting := (*settingError)(nil); errors.As(err, &setting) {
		return nil, setting
	}
	return nil, &settingError{Wrong: withoutValue(err), Mend: "--help shows all of them"}
}

// withoutValue is a message of kong's, less the argument that it quotes when one is left over: that
// could be half of a secret with a space in it.
func withoutValue(err error) string {
	text := err.Error()
	if flag := strings.HasPrefix(text, "unknown flag"); !flag {
		return "the command line holds an argument that is neither a setting nor a command"
	}
	return cut(text, 200)
}

// helpWithDefault adds the default to a flag's help.
func helpWithDefault(value *kong.Value) string {
	if value.Flag == nil {
		return value.Help
	}
	if d := defaultText(value.Flag); d != "" {
		return value.Help + " Default: " + d + "."
	}
	return value.Help
}

// defaultText is a flag's default as the help and the README show it.
func defaultText(flag *kong.Flag) string {
	dev, prod := flag.Tag.Get(development), flag.Tag.Get(production)
	if prod == "" {
		prod = flag.Default
	}
	switch cluster := flag.Tag.Get(clustered); {
	case dev != "":
		return prod + ", in development " + dev
	case cluster != "":
		return prod + ", with LOGUX_REDIS " + cluster
	}
	return prod
}

// clustered is the tag of a default for a node with LOGUX_REDIS.
const clustered = "clustered"

// applyDefaults sets what was given by nobody and has a default of its own in env: development, production or
// clustered.
func applyDefaults(ctx *kong.Context, env string) error {
	given := make(map[*kong.Flag]bool)
	for _, path := range ctx.Path {
		if path.Flag != nil {
			given[path.Flag] = true
		}
	}
	for _, flag := range ctx.Flags() {
		if text := flag.Tag.Get(env); text != "" && !given[flag] {
			if err := flag.Parse(kong.ScanFromTokens(kong.Token{Type: kong.FlagValueToken, Value: text}), flag.Target); err != nil {
				return err
			}
		}
	}
	return nil
}

// settings are the flags of the run command, in order of the Config's fields.
func settings(app *kong.Application) []*kong.Flag {
	for _, command := range app.Children {
		if command == app.DefaultCmd {
			return command.Flags
		}
	}
	return nil
}

// settingNames are the environment variables that settings are read from.
func settingNames(app *kong.Application) []string {
	var names []string
	for _, flag := range settings(app) {
		names = append(names, envName(flag.Name))
	}
	return names
}
