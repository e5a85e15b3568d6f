package bench

import (
	"encoding/json"
	"net/url"
	"strings"
	"testing"
	"time"
)

func template(t *testing.T, text string) Template {
	t.Helper()
	parsed, err := ParseTemplate(text, "dcntm")
	if err != nil {
		t.Fatal(err)
	}
	return parsed
}

// good is a load of a server at addr.
func good(t *testing.T, addr string) *Config {
	t.Helper()
	return &Config{
		URL: &url.URL{Scheme: "ws", Host: addr}, Clients: 2, ConnectRate: 1000, Duration: 0, Patience: 10 * time.Second,
		Protocol: 5, User: template(t, "u%d"), Subprotocol: json.RawMessage("1"),
	}
}

func TestCheck(t *testing.T) {
	for say, change := range map[string]func(*Config){
		"":                         func(*Config) {},
		"address is unusable":      func(c *Config) { c.URL.Scheme = "http" },
		"numbers must be positive": func(c *Config) { c.Clients = 0 },
		"times must be positive":   func(c *Config) { c.Patience = 0 },
		"the protocol is 6":        func(c *Config) { c.Protocol = 6 },
		"subprotocol is a version": func(c *Config) { c.Protocol = 4 },
		"subprotocol is a number":  func(c *Config) { c.Subprotocol = json.RawMessage(`"1.0.0"`) },
		"holds a colon":            func(c *Config) { c.User = template(t, "u:%d") },
		"user is empty":            func(c *Config) { c.User = Template{} },
		"give both":                func(c *Config) { c.FanOut = true },
		"there is none":            func(c *Config) { c.ActionRate, c.Action = 1, template(t, `{"type":"a","c":"%c"}`) },
		"no JSON object":           func(c *Config) { c.ActionRate, c.Action = 1, template(t, `{"type":%n}`) },
		"protocol's own":           func(c *Config) { c.ActionRate, c.Action = 1, template(t, `{"type":"logux/subscribe"}`) },
	} {
		c := good(t, "127.0.0.1:1")
		change(c)
		if err := c.Check(); (err == nil) != (say == "") || err != nil && !strings.Contains(err.Error(), say) {
			t.Errorf("%q: %v", say, err)
		}
	}
}

func TestChannels(t *testing.T) {
	c := good(t, "127.0.0.1:1")
	c.Clients, c.ChannelCount = 5, 2
	c.Channels = []Template{template(t, "room/%d"), template(t, "all"), template(t, "room/0")}
	names, of := c.channelNames()
	if got := strings.Join(names, " "); got != "room/0 room/1 all" {
		t.Errorf("names are %s", got)
	}
	for client, want := range []string{"room/0 all room/0", "room/1 all room/0", "room/0 all room/0"} {
		if got := names[of(client, 0)] + " " + names[of(client, 1)] + " " + names[of(client, 2)]; got != want {
			t.Errorf("client %d has %s, want %s", client, got, want)
		}
	}
	c.ChannelCount = 0
	if names, of := c.channelNames(); len(names) != 6 || names[of(4, 0)] != "room/4" {
		t.Errorf("without a count names are %v", names)
	}
}

func TestCheckMachine(t *testing.T) {
	for _, c := range []struct {
		clients, files, sources, servers, ports int
		say                                     string
	}{
		{1000, 1100, 0, 1, 28_000, ""},
		{1000, 1024, 0, 1, 28_000, "ulimit -n"},
		{30_000, 100_000, 0, 1, 28_000, "name 2 addresses of this machine with --source"},
		{30_000, 100_000, 2, 1, 28_000, ""},
		{30_000, 100_000, 0, 2, 28_000, ""},
		{90_000, 100_000, 2, 1, 28_000, "name 4 addresses"},
	} {
		err := checkMachine(c.clients, c.files, c.sources, c.servers, c.ports)
		if (err == nil) != (c.say == "") || err != nil && !strings.Contains(err.Error(), c.say) {
			t.Errorf("%+v: %v", c, err)
		}
	}
	if openFiles() < 10 || localPorts() < 10 {
		t.Errorf("%d files, %d ports", openFiles(), localPorts())
	}
}
