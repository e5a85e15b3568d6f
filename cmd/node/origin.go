package main

import (
	"net"
	"net/url"
	"strings"
	"time"

	"go.uber.org/zap"
	"golang.org/x/time/rate"
)

// An originRule is one element of LOGUX_ORIGINS.
type originRule struct {
	any        bool
	scheme     string
	host       string // with the port, when it is not the scheme's own
	subdomains bool   // of host, and not host itself
}

// parseOrigin reads https://example.com, https://*.example.com or *.
func parseOrigin(text string) (originRule, error) {
	if text == "*" {
		return originRule{any: true}, nil
	}
	wrong := &settingError{Setting: "origins", Wrong: "holds " + quote(text) + ", which is no web origin", Mend: "write origins as https://example.com, https://*.example.com or *"}
	scheme, host, found := splitOrigin(text)
	if !found {
		return originRule{}, wrong
	}
	rule := originRule{scheme: scheme, host: host}
	rule.host, rule.subdomains = strings.CutPrefix(host, "*.")
	if strings.ContainsAny(rule.host, "*") {
		return originRule{}, wrong
	}
	return rule, nil
}

func (r originRule) allows(scheme, host string) bool {
	switch {
	case r.any:
		return true
	case r.scheme != scheme:
		return false
	case r.subdomains:
		return strings.HasSuffix(host, "."+r.host)
	}
	return host == r.host
}

// originCheck decides on the Origin header of an upgrade: browsers send it, and cookies
// authenticate, so without it every web site could act for its visitors. Programs that are no
// browsers send none and pass. With no rules a page may connect to the host that it came from.
func originCheck(c *Config) (func(origin, host string) bool, error) {
	var rules []originRule
	for _, text := range c.Origins {
		rule, err := parseOrigin(text)
		if err != nil {
			return nil, err
		}
		rules = append(rules, rule)
	}
	if len(rules) == 0 && c.Development() {
		rules = []originRule{{any: true}}
	}
	return func(origin, host string) bool {
		if origin == "" {
			return true
		}
		if len(rules) == 1 && rules[0].any {
			return true
		}
		scheme, from, found := splitOrigin(origin)
		if !found {
			return false
		}
		if len(rules) == 0 {
			return from == strings.TrimSuffix(strings.ToLower(host), ":"+schemePort(scheme))
		}
		for _, rule := range rules {
			if rule.allows(scheme, from) {
				return true
			}
		}
		return false
	}, nil
}

// splitOrigin takes an origin apart, in lower case and without the scheme's own port.
func splitOrigin(origin string) (scheme, host string, found bool) {
	u, err := url.Parse(strings.ToLower(strings.TrimSuffix(origin, "/")))
	if err != nil || u.Scheme == "" || u.Host == "" || u.User != nil || u.Path != "" || u.RawQuery != "" || u.Fragment != "" {
		return "", "", false
	}
	if _, port, err := net.SplitHostPort(u.Host); err == nil && port == schemePort(u.Scheme) {
		return u.Scheme, strings.TrimSuffix(u.Host, ":"+port), true
	}
	return u.Scheme, u.Host, true
}

func schemePort(scheme string) string {
	switch scheme {
	case "https":
		return "443"
	case "http":
		return "80"
	}
	return ""
}

// loggedOrigins logs what check refuses, once a second at most: a forgotten LOGUX_ORIGINS is the
// usual reason why nobody can connect.
func loggedOrigins(check func(origin, host string) bool, log *zap.Logger) func(origin, host string) bool {
	now := rate.NewLimiter(rate.Every(time.Second), 1)
	return func(origin, host string) bool {
		if check(origin, host) {
			return true
		}
		if now.Allow() {
			log.Warn("Connection from a foreign web origin was refused", zap.String("origin", origin), zap.String("host", host),
				zap.String(hintKey, "If this is your own site, add the origin to LOGUX_ORIGINS."))
		}
		return false
	}
}
