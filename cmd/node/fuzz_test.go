package main

import (
	"errors"
	"io"
	"maps"
	"path/filepath"
	"strings"
	"testing"
)

// Whatever a setting is set to, the start goes on or ends with one line.
func FuzzSetting(f *testing.F) {
	parser, err := newParser(&commandLine{}, nil, io.Discard, io.Discard)
	if err != nil {
		f.Fatal(err)
	}
	names := settingNames(parser.Model)
	for i := range names {
		for _, text := range []string{"1", "30s", "64KiB", "127.0.0.1:80", "https://*.example.com", "10.0.0.0/8,::1", "\x00\n", "-", "redis://:a@b?prefix=c,rediss://d/1", "[::1]:0", "MDEyMzQ1Njc4OWFiY2RlZg=="} {
			f.Add(uint8(i), text)
		}
	}
	f.Fuzz(func(t *testing.T, i uint8, text string) {
		env := maps.Clone(enough)
		env[names[int(i)%len(names)]] = text
		if text == "" || strings.HasSuffix(names[int(i)%len(names)], "FILE") && filepath.IsAbs(text) {
			return // unset; and no reading from devices
		}
		c, err := load(env)
		if wrong := (*settingError)(nil); err != nil && (!errors.As(err, &wrong) || strings.ContainsAny(oneLine(err.Error()), "\n\r\x1b")) {
			t.Errorf("%s=%q: %v", names[int(i)%len(names)], text, err)
		}
		if err == nil && (c.Ping >= c.Timeout || c.MaxOutput < c.MaxMessage || len(c.Secrets()) == 0 || c.Backend.Host == "") {
			t.Errorf("%s=%q is accepted", names[int(i)%len(names)], text)
		}
	})
}

// No Origin header gets in that does not name an allowed host, however it is written.
func FuzzOrigin(f *testing.F) {
	check, err := originCheck(&Config{Env: production, Origins: []string{"https://example.com", "https://*.example.org"}})
	if err != nil {
		f.Fatal(err)
	}
	for _, origin := range []string{"https://example.com", "https://a.example.org:443", "null", "https://example.com.evil", "https://example.com@evil", "https://evil/https://example.com", "HTTPS://EXAMPLE.COM/"} {
		f.Add(origin)
	}
	f.Fuzz(func(t *testing.T, origin string) {
		if origin == "" || !check(origin, "example.com") {
			return
		}
		rest, found := strings.CutPrefix(strings.ToLower(origin), "https://")
		host := strings.TrimSuffix(strings.TrimSuffix(rest, "/"), ":443")
		if !found || host != "example.com" && !strings.HasSuffix(host, ".example.org") || strings.ContainsAny(host, "/@?#\\") {
			t.Errorf("%q is allowed", origin)
		}
	})
}
