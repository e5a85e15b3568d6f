package main

import (
	"testing"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"
)

func TestOrigins(t *testing.T) {
	const host = "app.example.com"
	for name, c := range map[string]struct {
		env    environment
		allow  []string
		refuse []string
	}{
		"same host by default": {
			env: with("LOGUX_ENV", "production"), allow: []string{"", "https://app.example.com", "http://APP.example.com", "https://app.example.com:443"},
			refuse: []string{"null", "https://example.com", "https://app.example.com.evil", "https://evilapp.example.com", "https://app.example.com:8443", "https://app.example.com@evil.example", "garbage", "//app.example.com", "https://"},
		},
		"any in development": {env: with("LOGUX_ENV", "development"), allow: []string{"", "null", "http://evil.example"}},
		"a list in development": {
			env: with("LOGUX_ENV", "development", "LOGUX_ORIGINS", "http://localhost:5173"), allow: []string{"http://localhost:5173", ""},
			refuse: []string{"http://localhost", "https://app.example.com", "null"},
		},
		"list": {
			env: with("LOGUX_ENV", "production", "LOGUX_ORIGINS", "https://example.com,https://*.example.org,http://x.example:8080/"),
			allow: []string{
				"https://example.com", "https://EXAMPLE.com:443", "https://a.example.org", "https://a.b.example.org", "http://x.example:8080", "",
			},
			refuse: []string{
				"http://example.com", "https://example.com:8443", "https://www.example.com", "https://example.org", "https://evilexample.org", "https://a.example.org.evil",
				"https://app.example.com", "null", "http://x.example", "https://example.com/path",
			},
		},
		"any": {env: with("LOGUX_ENV", "production", "LOGUX_ORIGINS", "*"), allow: []string{"", "null", "https://x"}},
	} {
		t.Run(name, func(t *testing.T) {
			check, err := originCheck(mustLoad(t, c.env))
			if err != nil {
				t.Fatal(err)
			}
			for _, origin := range c.allow {
				if !check(origin, host) {
					t.Errorf("%q is refused", origin)
				}
			}
			for _, origin := range c.refuse {
				if check(origin, host) {
					t.Errorf("%q is allowed", origin)
				}
			}
		})
	}
	check, err := originCheck(mustLoad(t, with("LOGUX_ENV", "production")))
	if err != nil || !check("http://x.example:31337", "x.example:31337") || !check("http://x.example", "x.example:80") || check("http://x.example", "x.example:31337") {
		t.Errorf("ports of the same host: %v", err)
	}
}

// A refused origin is logged, at most once a second.
func TestRefusedOriginIsLogged(t *testing.T) {
	core, logged := observer.New(zapcore.InfoLevel)
	check := loggedOrigins(func(origin, _ string) bool { return origin == "" }, zap.New(core))
	for range 100 {
		if check("https://evil.example", "x") || !check("", "x") {
			t.Fatal("the answer changed")
		}
	}
	if n := logged.Len(); n != 1 || logged.All()[0].ContextMap()["origin"] != "https://evil.example" {
		t.Errorf("%d entries: %v", n, logged.All())
	}
}
