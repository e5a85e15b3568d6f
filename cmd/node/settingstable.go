package main

import (
	"fmt"
	"io"
	"strings"
)

// settingsTable is the README's table of settings, made from Config.
func settingsTable() string {
	parser, err := newParser(&commandLine{}, nil, io.Discard, io.Discard)
	if err != nil {
		panic(err) // the struct's tags are wrong, which every test would find
	}
	var text strings.Builder
	group := ""
	for _, flag := range settings(parser.Model) {
		if flag.Group.Key != group {
			group = flag.Group.Key
			fmt.Fprintf(&text, "\n**%s**\n\n| variable | default | meaning |\n|---|---|---|\n", strings.TrimSuffix(flag.Group.Title, ":"))
		}
		d := ""
		if t := defaultText(flag); t != "" {
			d = "`" + strings.ReplaceAll(t, ", in development ", "`, in development `") + "`"
		}
		fmt.Fprintf(&text, "| `%s` | %s | %s |\n", envName(flag.Name), d, strings.ReplaceAll(flag.Help, "|", `\|`))
	}
	return strings.TrimPrefix(text.String(), "\n")
}
