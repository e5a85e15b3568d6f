package main

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"strings"
	"time"

	"logux-proxy/cmd/node/bench"
)

type benchCommand struct {
	Server string `arg:"" optional:"" placeholder:"URL" help:"The server, as ws://127.0.0.1:31337 or wss://example.com/path."`

	Clients  int           `default:"100" range:"1..1000000" group:"load" help:"Clients."`
	Rate     int           `default:"200" range:"1..100000" group:"load" help:"New connections a second."`
	Duration time.Duration `default:"10s" range:"0s..24h" group:"load" help:"Time under load, from when the clients are connected."`
	Actions  int           `default:"0" range:"0..1000000" group:"load" help:"Actions a second, of all clients together."`
	Action   string        `placeholder:"JSON" group:"load" help:"What each action is. Default: {\"type\":\"bench/act\",\"channel\":\"%c\",\"number\":%n,\"time\":%t}, without a channel where there is none."`
	Patience time.Duration `default:"30s" range:"1s..10m" group:"load" help:"How long a connection may take to be accepted and subscribed, and how long outcomes and deliveries are waited for at the end."`

	User        string `default:"bench-%d" group:"who" help:"User ID of each client."`
	Token       string `placeholder:"TEXT" group:"who" help:"Token of each client. Default: none."`
	Protocol    int    `default:"5" range:"3..5" group:"who" help:"Version of the WebSocket protocol: 5 for clients from @logux/client 0.22 on, 4 for @logux/server 0.13."`
	Subprotocol string `placeholder:"TEXT" group:"who" help:"Subprotocol of the application: a number with protocol 5, else a version. Default: 1, or 1.0.0."`
	Channels    names  `name:"channel" sep:"none" placeholder:"NAME" group:"who" help:"Channel that each client subscribes to. May be given several times."`
	Count       int    `name:"channels" default:"0" range:"0..1000000" group:"who" help:"How many channels a %d in --channel makes, among which the clients are dealt out. 0: one for each client."`
	FanOut      bool   `group:"who" help:"The back-end re-sends each action to its channel: what a subscriber misses is an error."`
	Reconnect   bool   `default:"true" group:"who" help:"Clients that lose their connection come back after 1s to 5s, as real ones do."`

	Headers  names    `name:"header" sep:"none" placeholder:"NAME:VALUE" group:"network" help:"HTTP header of the upgrade, such as Origin or Cookie. May be given several times."`
	Sources  []string `name:"source" placeholder:"ADDR" group:"network" help:"Addresses of this machine to connect from, with commas: each can have some 28,000 connections to one address."`
	CA       string   `name:"ca" placeholder:"FILE" group:"network" help:"Certificate authorities (PEM) to check the server with. Default: the system's."`
	Insecure bool     `group:"network" help:"Do not check the server's certificate."`

	MaxErrors     int           `default:"0" range:"0..1000000000" group:"verdict" help:"More errors than this make the exit code 1."`
	MaxP99        time.Duration `name:"max-p99" placeholder:"TIME" range:"1ms..10m" group:"verdict" help:"So does a longer time, of 99 per cent of the outcomes or of the deliveries."`
	MaxConnectP99 time.Duration `name:"max-connect-p99" placeholder:"TIME" range:"1ms..10m" group:"verdict" help:"So does a longer time, of 99 per cent of the connects."`
	JSON          bool          `group:"verdict" help:"Print the figures as JSON."`
}

// Help implements kong.HelpProvider.
func (benchCommand) Help() string {
	return `It loads any Logux server, this one or @logux/server, with clients that behave like real ones:

  logux-proxy bench ws://127.0.0.1:31337 --clients 1000
  logux-proxy bench ws://127.0.0.1:31337 --clients 1000 --channel room/%d --channels 10 \
    --actions 200 --action '{"type":"say","room":"%c","n":%n}' --fan-out --max-p99 100ms
  logux-proxy bench wss://example.com --token secret --protocol 4 --json | jq .latencyMs.outcome.p99

In --user, --token and --channel %d is the client's number, from 0; in --action it is too, %c is
the channel, %n the action's number, %t the time in ms, and %m a mark: a back-end that answers
with an action of its own puts it in there, so that the delivery is told. %% is the sign itself.

First all clients connect, then they act for --duration, then what is under way is waited for.
Times of outcomes and deliveries count from when the action was due. On a terminal a line a second
tells how it goes; Ctrl-C ends it and prints what is known.

Errors are: connections that fail, are refused or lost, subscriptions and actions that are undone or get
no outcome, deliveries that come twice or, with --fan-out, not at all. The exit code is 0 when
there are no more than --max-errors and no time is too long, 1 otherwise, 2 for a wrong flag.

A client costs this process about 10 KiB, more while much comes and with TLS. It needs a file for each
client (ulimit -n), and a port: beyond 28,000 name more addresses with --source. It loads whatever you
name, and the back-end behind it acts on what it is sent: use servers that are yours.`
}

// Run loads the server and prints what came of it.
func (b *benchCommand) Run(p *process) error {
	c, err := b.config()
	if err != nil {
		return err
	}
	progress, end := terminalProgress(p)
	r, err := bench.Run(p.Context, c, progress)
	end()
	if err != nil {
		return explainRefusal(err)
	}
	good := r.Judge(bench.Bounds{Errors: int64(b.MaxErrors), ConnectP99: b.MaxConnectP99, P99: b.MaxP99})
	if b.JSON {
		encoder := json.NewEncoder(p.Stdout)
		encoder.SetIndent("", "  ")
		err = encoder.Encode(r)
	} else {
		err = r.Write(p.Stdout)
	}
	if err == nil && !good {
		err = errors.New(strings.Join(r.Failed, "; "))
	}
	return err
}

// terminalProgress writes a line that is written over, where there is a terminal; end takes it away.
func terminalProgress(p *process) (show func(*bench.Progress), end func()) {
	if !isTerminal(p.Stderr, p.Env) {
		return nil, func() {}
	}
	write := func(text string) { _, _ = io.WriteString(p.Stderr, "\r\x1b[K"+text) }
	return func(progress *bench.Progress) { write(progress.String()) }, func() { write("") }
}

// config is the load that the flags say.
func (b *benchCommand) config() (*bench.Config, error) {
	if b.Server == "" {
		return nil, &settingError{Wrong: "there is no server to load", Mend: "write its address behind the flags, as ws://127.0.0.1:31337"}
	}
	c := &bench.Config{
		Clients: b.Clients, ConnectRate: b.Rate, Duration: b.Duration, Patience: b.Patience, Reconnect: b.Reconnect,
		Protocol: b.Protocol, ChannelCount: b.Count, ActionRate: b.Actions, FanOut: b.FanOut,
	}
	var err error
	if c.URL, err = url.Parse(b.Server); err != nil {
		return nil, wrongFlag("server", errors.New("its address is no URL; write it as ws://127.0.0.1:31337"))
	}
	for _, t := range []struct {
		flag, text, places string
		to                 *bench.Template
	}{
		{"user", b.User, "d", &c.User}, {"token", b.Token, "d", &c.Token}, {"action", b.action(), "dcntm", &c.Action},
	} {
		if *t.to, err = bench.ParseTemplate(t.text, t.places); err != nil {
			return nil, wrongFlag(t.flag, err)
		}
	}
	for _, text := range b.Channels {
		t, err := bench.ParseTemplate(text, "d")
		if err != nil {
			return nil, wrongFlag("channel", err)
		}
		c.Channels = append(c.Channels, t)
	}
	c.Subprotocol = b.subprotocol()
	if err := b.network(c); err != nil {
		return nil, err
	}
	if err := c.Check(); err != nil {
		return nil, wrongFlag("", err)
	}
	return c, nil
}

// wrongFlag is a setting error of a reason and its mending with a semicolon between.
func wrongFlag(flag string, err error) error {
	wrong, mend, _ := strings.Cut(err.Error(), "; ")
	if flag != "" {
		wrong = "--" + flag + ": " + wrong
	}
	if mend == "" {
		mend = "see bench --help"
	}
	return &settingError{Wrong: wrong, Mend: mend}
}

func (b *benchCommand) action() string {
	switch {
	case b.Action != "":
		return b.Action
	case len(b.Channels) > 0:
		return `{"type":"bench/act","channel":"%c","number":%n,"time":%t}`
	}
	return `{"type":"bench/act","number":%n,"time":%t}`
}

// subprotocol is JSON: what is no number is a string.
func (b *benchCommand) subprotocol() json.RawMessage {
	text := b.Subprotocol
	if text == "" {
		text = "1.0.0"
		if b.Protocol >= 5 {
			text = "1"
		}
	}
	var number float64
	if json.Unmarshal([]byte(text), &number) == nil && b.Protocol >= 5 {
		return json.RawMessage(text)
	}
	quoted, _ := json.Marshal(text) // a string always becomes JSON
	return quoted
}

// network reads the flags about the way to the server.
func (b *benchCommand) network(c *bench.Config) error {
	c.Header = http.Header{}
	for _, field := range b.Headers {
		name, value, found := strings.Cut(field, ":")
		if name = strings.TrimSpace(name); !found || name == "" || strings.ContainsAny(field, "\r\n") {
			return wrongFlag("header", errors.New("it has no name and value; write it as 'Origin: https://example.com'"))
		}
		c.Header.Add(name, strings.TrimSpace(value))
	}
	for _, text := range b.Sources {
		addr, err := netip.ParseAddr(text)
		if err != nil {
			return wrongFlag("source", fmt.Errorf("%s is no address; write it as 127.0.0.2,127.0.0.3", quote(text)))
		}
		if len(c.Sources) > 0 && addr.Is4() != c.Sources[0].Is4() {
			return wrongFlag("source", errors.New("they are of both kinds, IPv4 and IPv6; use one"))
		}
		c.Sources = append(c.Sources, addr)
	}
	if b.CA == "" && !b.Insecure {
		return nil
	}
	c.TLS = &tls.Config{InsecureSkipVerify: b.Insecure, MinVersion: tls.VersionTLS12}
	if b.CA != "" {
		pem, err := os.ReadFile(b.CA)
		if err != nil {
			return wrongFlag("ca", fmt.Errorf("%s; name a file with certificates", lastCause(err)))
		}
		c.TLS.RootCAs = x509.NewCertPool()
		if !c.TLS.RootCAs.AppendCertsFromPEM(pem) {
			return wrongFlag("ca", errors.New("the file holds no certificate; name one in PEM"))
		}
	}
	return nil
}

// explainRefusal adds how to mend what keeps the first client out.
func explainRefusal(err error) error {
	refused := (*bench.RefusedError)(nil)
	if !errors.As(err, &refused) {
		return err
	}
	for _, known := range []struct{ part, mend string }{
		{"wrong-credentials", "give --user and --token that the back-end lets in"},
		{"wrong-subprotocol", "give a --subprotocol that the application supports"},
		{"wrong-protocol", "give the --protocol that the server speaks"},
		{"wrong-format", "the server may be an older one: try --protocol 4"},
		{"bruteforce", "wait 3s, then give --user and --token that the back-end lets in"},
		{"subscription undone", "give a --channel that the back-end lets these users subscribe to"},
		{"HTTP status 403", "the server may not take this origin: give --header 'Origin: https://…'"},
		{"HTTP status", "see that the address is that of the WebSocket, not of another port or path"},
		{"1013", "the server cannot reach its back-end, or is full: see its log"},
		{"unknown authority", "give its authority with --ca, or --insecure"},
		{"does not speak TLS", "write ws:// for wss://"},
		{"connection refused", "start it, or mend the address"},
	} {
		if strings.Contains(refused.Fault, known.part) {
			return fmt.Errorf("%w; %s", err, known.mend)
		}
	}
	return err
}
