package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/alecthomas/kong"
)

type completionCommand struct {
	Shell string `arg:"" optional:"" placeholder:"SHELL" oneof:"bash,zsh,fish" help:"bash, zsh or fish."`
}

// Help implements kong.HelpProvider.
func (completionCommand) Help() string {
	return `The shell asks the program that is installed, so that the script need not be made again for
a new release. For one session, or for good:

  source <(logux-proxy completion bash)
  logux-proxy completion bash > /etc/bash_completion.d/logux-proxy

  source <(logux-proxy completion zsh)
  logux-proxy completion zsh > "${fpath[1]}/_logux-proxy"

  logux-proxy completion fish | source
  logux-proxy completion fish > ~/.config/fish/completions/logux-proxy.fish`
}

// Run prints the script.
func (c *completionCommand) Run(p *process) error {
	script, known := completionScripts[c.Shell]
	if !known {
		return &settingError{Wrong: "there is no shell to complete in", Mend: "name it: bash, zsh or fish"}
	}
	_, err := io.WriteString(p.Stdout, script)
	return err
}

// completionScripts have the shell ask completeWordsCommand. Where that has nothing to say the shell completes names of files.
var completionScripts = map[string]string{
	"bash": `# Completion of logux-proxy for bash.
_logux_proxy() {
  local program=$1 word
  [[ $program == '~/'* ]] && program=$HOME/${program:2}
  COMPREPLY=()
  while IFS=$'\t' read -r word _; do
    [[ -n $word ]] && COMPREPLY+=("$word")
  done < <("$program" complete-words -- "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null)
}
complete -o default -F _logux_proxy logux-proxy
`,
	"zsh": `#compdef logux-proxy
# Completion of logux-proxy for zsh.
_logux_proxy() {
  local -a candidates
  local line
  while IFS= read -r line; do
    [[ -n $line ]] && candidates+=("${${line%%$'\t'*}//:/\\:}:${line#*$'\t'}")
  done < <("${(Q)words[1]/#\~\//$HOME/}" complete-words -- "${(@Q)words[2,CURRENT]}" 2>/dev/null)
  if (( $#candidates )); then
    _describe -t values logux-proxy candidates
  else
    _files
  fi
}
if [[ $funcstack[1] == _logux_proxy ]]; then
  _logux_proxy "$@"
else
  compdef _logux_proxy logux-proxy
fi
`,
	"fish": `# Completion of logux-proxy for fish.
function __logux_proxy_words
    set -l words (commandline -opc) (commandline -ct)
    set -l found ($words[1] complete-words -- $words[2..-1] 2>/dev/null)
    if test (count $found) -gt 0
        printf '%s\n' $found
    else
        __fish_complete_path (commandline -ct)
    end
end
complete -c logux-proxy -f -a '(__logux_proxy_words)'
`,
}

type completeWordsCommand struct {
	Words names `arg:"" optional:"" help:"The words of the command line up to the one that is completed."`
}

// Run prints what the last word may become, a line each, with a word about it behind a tab.
func (c *completeWordsCommand) Run(p *process, ctx *kong.Context) error {
	words := c.Words
	if len(words) > 0 && words[0] == "--" {
		words = words[1:]
	}
	for _, found := range completions(ctx.Model.Node, words) {
		if _, err := fmt.Fprintf(p.Stdout, "%s\t%s\n", found.word, found.about); err != nil {
			return err
		}
	}
	return nil
}

// A completion is what a word may become.
type completion struct{ word, about string }

// completions are what the last of words may become, behind the others. Of a flag whose values nobody knows it is nothing.
func completions(node *kong.Node, words []string) (found []completion) {
	if len(words) == 0 {
		words = []string{""}
	}
	var valueOf *kong.Flag // the flag whose value comes next
	before, last := words[:len(words)-1], words[len(words)-1]
	for _, word := range before {
		if valueOf != nil {
			if word != "=" { // which bash makes a word of its own
				valueOf = nil
			}
			continue
		}
		if flag := findFlag(node, word); flag != nil && !flag.IsBool() {
			valueOf = flag
		} else if child := findCommand(node, word); child != nil {
			node = child
		}
	}
	if last == "=" && valueOf != nil {
		last = ""
	}
	if name, value, found := strings.Cut(last, "="); found && valueOf == nil {
		return valuesOf(findFlag(node, name), name+"=", value)
	}
	switch {
	case valueOf != nil:
		return valuesOf(valueOf, "", last)
	case strings.HasPrefix(last, "-"):
		return flagsOf(node, last)
	}
	return commandsOf(node, last)
}

// valuesOf are a flag's values that begin with value, with prefix before each.
func valuesOf(flag *kong.Flag, prefix, value string) (found []completion) {
	if flag == nil {
		return nil
	}
	values := strings.Split(flag.Tag.Get("oneof"), ",")
	if flag.IsBool() {
		values = []string{"true", "false"}
	}
	for _, v := range values {
		if v != "" && strings.HasPrefix(v, value) {
			found = append(found, completion{prefix + v, ""})
		}
	}
	return found
}

func flagsOf(node *kong.Node, begin string) (found []completion) {
	for _, flag := range allFlags(node) {
		if word := "--" + flag.Name; !flag.Hidden && strings.HasPrefix(word, begin) {
			found = append(found, completion{word, firstSentence(flag.Help)})
		}
	}
	return found
}

func commandsOf(node *kong.Node, begin string) (found []completion) {
	for _, child := range node.Children {
		// The default of the program is meant without its name.
		if !child.Hidden && child != defaultOf(node.Parent, node) && strings.HasPrefix(child.Name, begin) {
			found = append(found, completion{child.Name, firstSentence(child.Help)})
		}
	}
	for _, argument := range node.Positional {
		for v := range strings.SplitSeq(argument.Tag.Get("oneof"), ",") {
			if v != "" && strings.HasPrefix(v, begin) {
				found = append(found, completion{v, ""})
			}
		}
	}
	return found
}

// defaultOf is the program's own default command, when node is the program.
func defaultOf(parent, node *kong.Node) *kong.Node {
	if parent != nil {
		return nil
	}
	return node.DefaultCmd
}

func findCommand(node *kong.Node, name string) *kong.Node {
	for _, child := range node.Children {
		if child.Name == name {
			return child
		}
	}
	return nil
}

// findFlag finds a flag as it is written: --name, -n.
func findFlag(node *kong.Node, word string) *kong.Flag {
	for _, flag := range allFlags(node) {
		if word == "--"+flag.Name || flag.Short != 0 && word == "-"+string(flag.Short) {
			return flag
		}
	}
	return nil
}

// allFlags are those of a command, of the one that is meant without a name, and of all above.
func allFlags(node *kong.Node) (flags []*kong.Flag) {
	if node.DefaultCmd != nil {
		flags = append(flags, node.DefaultCmd.Flags...)
	}
	for ; node != nil; node = node.Parent {
		flags = append(flags, node.Flags...)
	}
	return flags
}

// firstSentence is enough of a help beside a list.
func firstSentence(help string) string {
	sentence, _, _ := strings.Cut(help, ". ")
	return strings.TrimSuffix(sentence, ".")
}
