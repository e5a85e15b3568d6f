// Command judge judges a saved history again: go run ./e2e/history/judge FILE.
package main

import (
	"flag"
	"fmt"
	"os"

	"logux-proxy/e2e/history"
)

func main() {
	options := history.Options{}
	flag.DurationVar(&options.Grace, "grace", history.DefaultGrace, "how long an action may take to a client whose connection ended later")
	flag.DurationVar(&options.AckLimit, "ack-limit", 0, "time before which no action is acknowledged without an outcome; 0 for any")
	flag.Parse()
	if flag.NArg() != 1 {
		fmt.Fprintln(os.Stderr, "usage: judge [-grace TIME] [-ack-limit TIME] FILE")
		os.Exit(2)
	}
	events, err := history.Load(flag.Arg(0))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	verdict := history.Judge(events, options)
	fmt.Println(verdict)
	if !verdict.OK() {
		os.Exit(1)
	}
}
