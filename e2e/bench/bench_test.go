//go:build linux

package main

import (
	"strings"
	"testing"
	"time"
)

func TestResponse(t *testing.T) {
	for _, c := range []struct {
		text   string
		status int
	}{
		{"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", 200},
		{"HTTP/1.1 403 Forbidden\r\ncontent-length: 12\r\nX: y\r\n\r\nWrong secret", 403},
		{"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 200},
		{"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", 200},
		{"HTTP/1.1 204 No Content\r\nDate: now\r\n\r\n", 204},
	} {
		if status, size := response([]byte(c.text + "HTTP")); status != c.status || size != len(c.text) {
			t.Errorf("%q is read as %d in %d bytes", c.text, status, size)
		}
		for cut := range len(c.text) {
			if _, size := response([]byte(c.text[:cut])); size != 0 {
				t.Errorf("%q is a whole response", c.text[:cut])
			}
		}
	}
}

// Every scenario runs on the bare program, and finds nothing to complain about.
func TestScenariosOnBare(t *testing.T) {
	dir := t.TempDir()
	p, err := build(t.Context(), dir, "bare", "logux-proxy/e2e/bare")
	if err != nil {
		t.Fatal(err)
	}
	o, err := parseOptions([]string{
		"-idle-clients", "50", "-clients", "40", "-actors", "10", "-storm-clients", "100", "-stuck", "2",
		"-time", "100ms", "-rest", "100ms", "-limit", "20s",
	})
	if err != nil {
		t.Fatal(err)
	}
	b := &bench{ctx: t.Context(), o: o}
	for _, s := range scenarios {
		if s.cluster {
			continue // the bare program knows no other
		}
		if err := b.measure(s, p); err != nil {
			t.Fatalf("%s: %v", s.name, err)
		}
	}
	for _, r := range b.results {
		for _, fault := range r.faults {
			t.Error(fault)
		}
	}
	for scenario, name := range map[string]string{
		"idle": "rss_bytes_per_conn", "fanout": "max_deliveries_per_s", "manychan": "max_deliveries_per_s", "clientpub": "deliveries_per_s",
		"roundtrip": "actions_per_s", "storm": "connect_rate", "stuck": "with_deliveries_per_s",
	} {
		if values := figures(b.results, scenario, "bare", name); len(values) != 1 || values[0] <= 0 {
			t.Errorf("%s: %s is %v", scenario, name, values)
		}
	}
	if text := table(b.results); !strings.Contains(text, "rss_bytes_per_conn") {
		t.Errorf("the table is\n%s", text)
	}
}

// A server that does not do what it should is a fault and not a figure.
func TestFaultsAreReported(t *testing.T) {
	o, err := parseOptions([]string{"-actors", "3", "-limit", "200ms", "-url", "ws://127.0.0.1:1/"})
	if err != nil {
		t.Fatal(err)
	}
	b := &bench{ctx: t.Context(), o: o}
	if err := b.measure(scenario{name: "roundtrip", run: roundTrip}, program{name: o.url}); err != nil {
		t.Fatal(err)
	}
	faults := strings.Join(b.results[0].faults, "\n")
	if !strings.Contains(faults, "3 failed") || !strings.Contains(faults, "connect: connection refused") {
		t.Errorf("faults are\n%s", faults)
	}
}

func TestOptions(t *testing.T) {
	for _, args := range []string{
		"-scenario nothing", "-compare centrifugo", "-clients 0", "-window 65", "extra", "-url ws://a/ -pin", "-time soon",
	} {
		if _, err := parseOptions(strings.Fields(args)); err == nil {
			t.Errorf("%s is accepted", args)
		}
	}
	o, err := parseOptions(strings.Fields("-scenario idle,storm -pin -time 3s -env A=1 -env B=2"))
	if err != nil {
		t.Fatal(err)
	}
	chosen, _ := o.chosen()
	if len(chosen) != 2 || chosen[1].name != "storm" || o.serverCPU != 0 || o.time != 3*time.Second || len(o.env) != 2 {
		t.Errorf("options are %+v", o)
	}
}
