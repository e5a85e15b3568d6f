package main

import (
	"io"
	"strings"

	"github.com/alecthomas/kong"
)

type manCommand struct{}

// Help implements kong.HelpProvider.
func (manCommand) Help() string {
	return `It holds all that the --help of all commands tell. To read it, or to install it:

  logux-proxy man | man -l -
  logux-proxy man > /usr/local/share/man/man1/logux-proxy.1`
}

// Run prints the manual page.
func (manCommand) Run(p *process, ctx *kong.Context) error {
	_, err := io.WriteString(p.Stdout, manualPage(ctx.Model))
	return err
}

// manualPage is a page of section 1 in the macros of man(7), made of what the helps are made of.
func manualPage(app *kong.Application) string {
	var m manual
	m.macro("TH", "LOGUX-PROXY", "1", "", "logux-proxy "+releaseName())
	m.macro("SH", "NAME")
	m.text("logux-proxy - WebSocket proxy between Logux clients and an HTTP back-end")
	m.macro("SH", "SYNOPSIS")
	m.text("logux-proxy [flags]")
	m.macro("br")
	m.text("logux-proxy COMMAND [flags]")
	m.macro("SH", "DESCRIPTION")
	_, description, _ := strings.Cut(about, "\n\n")
	m.prose(description)
	m.macro("SH", "COMMANDS")
	for _, command := range app.Leaves(true) {
		if command == app.DefaultCmd {
			continue
		}
		m.macro("SS", strings.TrimSpace(command.Path()))
		m.text(command.Help)
		m.prose(command.Detail)
		for _, flag := range command.Flags {
			if !isSetting(flag) {
				m.flag(flag)
			}
		}
	}
	m.macro("SH", "SETTINGS")
	m.text("Of the proxy without a command, and of check. Each is a flag and an environment variable.")
	group := ""
	for _, flag := range settings(app) {
		if flag.Group.Key != group {
			group = flag.Group.Key
			m.macro("SS", strings.TrimSuffix(flag.Group.Title, ":"))
		}
		m.flag(flag)
	}
	m.macro("SH", "FILES")
	m.term(".env", "Settings, one NAME=VALUE a line, read from the working directory.")
	m.macro("SH", "EXIT STATUS")
	m.term("0", "All went well. The proxy was stopped by SIGTERM or Ctrl-C.")
	m.term("1", "Something failed at work; check found something wrong; bench broke a bound.")
	m.term("2", "A setting or a flag is wrong. Nothing was started.")
	return m.String()
}

// A manual is text in the macros of man(7).
type manual struct{ strings.Builder }

// macro writes a request with its arguments.
func (m *manual) macro(name string, arguments ...string) {
	m.WriteString("." + name)
	for _, a := range arguments {
		m.WriteString(` "` + strings.ReplaceAll(roff(a), `"`, `\(dq`) + `"`)
	}
	m.WriteString("\n")
}

// text writes lines that are filled.
func (m *manual) text(text string) {
	for line := range strings.Lines(text) {
		line = strings.TrimSuffix(line, "\n")
		if strings.HasPrefix(line, ".") || strings.HasPrefix(line, "'") {
			m.WriteString(`\&`)
		}
		m.WriteString(roff(line) + "\n")
	}
}

// prose writes a help: paragraphs, of which the indented ones are shown as they are.
func (m *manual) prose(text string) {
	for paragraph := range strings.SplitSeq(strings.Trim(text, "\n"), "\n\n") {
		if !strings.HasPrefix(paragraph, "  ") {
			m.macro("PP")
			m.text(paragraph)
			continue
		}
		m.macro("PP")
		m.macro("RS", "4")
		m.macro("nf")
		m.text(paragraph)
		m.macro("fi")
		m.macro("RE")
	}
}

// term writes a word and what it means.
func (m *manual) term(word, meaning string) {
	m.macro("TP")
	m.macro("B", word)
	m.text(meaning)
}

func (m *manual) flag(flag *kong.Flag) {
	name := "--" + flag.Name
	if flag.Short != 0 {
		name = "-" + string(flag.Short) + ", " + name
	}
	if !flag.IsBool() {
		value := flag.PlaceHolder
		if value == "" {
			value = "VALUE"
		}
		name += "=" + value
	}
	if isSetting(flag) {
		name += " (" + envName(flag.Name) + ")"
	}
	m.term(name, helpWithDefault(flag.Value))
}

// roff escapes what the macros would read as their own. A dash that may be copied into a shell is a minus.
func roff(text string) string {
	return strings.NewReplacer(`\`, `\e`, "-", `\-`).Replace(text)
}
