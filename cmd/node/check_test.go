package main

import (
	"crypto/tls"
	"crypto/x509"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"logux-proxy/backend"
	"logux-proxy/backend/backendtest"
)

// replaced is text with each address under a name, for a golden file.
func replaced(text string, pairs ...string) string {
	// Tests start the program by a variable of their own.
	pairs = append(pairs, "warn   settings     Nothing reads the variable "+asProgram+". Look for it in --help, or remove it.\n", "")
	return strings.NewReplacer(pairs...).Replace(text)
}

func TestCheckAllIsWell(t *testing.T) {
	back := httptest.NewServer(backendtest.New(backendtest.Options{Secret: enough["LOGUX_CONTROL_SECRET"]}))
	defer back.Close()
	redis, public, admin, gossip := freeAddr(t), freeAddr(t), freeAddr(t), freeAddr(t)
	startRedis(t, redis)
	peer := startNode(t, back.URL, "redis://"+redis)
	traces := startCollector(t)
	_, port, _ := strings.Cut(public, ":")
	env := with("LOGUX_TRACE", traces.url+"?key=canary-4", "OTEL_EXPORTER_OTLP_HEADERS", "api-key=canary-5", "LOGUX_BACKEND", back.URL+"/logux?key=canary-1", "LOGUX_PORT", port, "LOGUX_ADMIN_ADDR", admin,
		"LOGUX_REDIS", "redis://"+redis, "LOGUX_GOSSIP_ADDR", gossip, "LOGUX_JOIN", gossip+","+peer.gossip)
	out, errs, code := command(t, env, "", "check")
	if code != exitOK || errs != "" || strings.Contains(out, "canary") {
		t.Errorf("%d %q %q", code, out, errs)
	}
	golden(t, "check-well.txt", replaced(out, back.URL, "BACKEND", redis, "REDIS", public, "PUBLIC", admin, "ADMIN", gossip, "GOSSIP", peer.gossip, "PEER", traces.url, "COLLECTOR"))
}

func TestCheckAllIsWrong(t *testing.T) {
	const password = "canary-2"
	back := httptest.NewServer(backendtest.New(backendtest.Options{Secret: "another"}))
	defer back.Close()
	public, admin, gossip, nobody, redis := freeAddr(t), freeAddr(t), freeAddr(t), freeAddr(t), freeAddr(t)
	startRedis(t, redis, "--requirepass", password)
	_, taken, _ := strings.Cut(strings.TrimPrefix(back.URL, "http://"), ":")
	traces := freeAddr(t)
	env := with("LOGUX_TRACE", "http://"+traces, "LOGUX_BACKEND", back.URL, "LOGUX_PORT", taken, "LOGUX_ADMIN_ADDR", admin, "LOGUX_BACKEND_HODL", "1s",
		"LOGUX_REDIS", "redis://:"+password+"x@"+redis, "LOGUX_GOSSIP_ADDR", gossip, "LOGUX_JOIN", gossip+","+nobody)
	out, errs, code := command(t, env, "", "check")
	if code != exitFailed || errs != "logux-proxy: 3 things to mend\n" || strings.Contains(out, password) {
		t.Errorf("%d %q %q", code, out, errs)
	}
	golden(t, "check-wrong.txt", replaced(out, back.URL, "BACKEND", strings.TrimPrefix(back.URL, "http://"), "TAKEN", redis, "REDIS", public, "PUBLIC", admin, "ADMIN", gossip, "GOSSIP", nobody, "NOBODY", traces, "COLLECTOR"))

	// Where a node runs its own ports are taken.
	out, _, code = command(t, env, "", "check", "--running")
	if code != exitFailed || strings.Contains(out, "listening") {
		t.Errorf("--running: %d %q", code, out)
	}
}

// A wrong setting ends the check with the line and the code with which it would end the start.
func TestCheckSettings(t *testing.T) {
	for _, pair := range [][2]string{{"LOGUX_PORT", "seven"}, {"LOGUX_BACKEND", ""}, {"LOGUX_CERT", "/nowhere"}} {
		env := with(pair[0], pair[1])
		out, errs, code := command(t, env, "", "check")
		_, same, _ := command(t, env, "")
		if code != exitSetting || out != "" || errs != same || !strings.Contains(errs, pair[0]) {
			t.Errorf("%v: %d %q %q, and the start says %q", pair, code, out, errs, same)
		}
	}
	// Flags are those of the proxy.
	out, _, code := command(t, enough, "", "check", "--backend", "http://"+freeAddr(t), "-p", "0", "--admin-addr", "off")
	if code != exitFailed || !strings.Contains(out, "connection refused; start it, or mend LOGUX_BACKEND") || !strings.Contains(out, "a single node") {
		t.Errorf("%d %q", code, out)
	}
}

func TestJudgeBackend(t *testing.T) {
	for _, c := range []struct {
		answer backend.CheckAnswer
		want   string
	}{
		{backend.CheckAnswer{Status: 200, Array: true}, "ok     back-end     URL answers and accepts the secret"},
		{backend.CheckAnswer{Status: 200}, "warn   back-end     URL answers 200 but not with an array"},
		{backend.CheckAnswer{Status: 200, Markup: true}, "wrong  back-end     URL answers 200 with a page for people, and not as a Logux library; mend"},
		{backend.CheckAnswer{Status: 400, WantsTLS: true}, "wrong  back-end     URL answers 400: it wants TLS; write https://"},
		{backend.CheckAnswer{Status: 301}, "wrong  back-end     URL answers 301, a redirect"},
		{backend.CheckAnswer{Status: 400}, "warn   back-end     URL answers 400 to a request without commands"},
		{backend.CheckAnswer{Status: 401}, "wrong  back-end     URL answers 401: it wants a name"},
		{backend.CheckAnswer{Status: 403}, "wrong  back-end     URL answers 403: it refuses the secret; set LOGUX_CONTROL_SECRET"},
		{backend.CheckAnswer{Status: 404}, "wrong  back-end     URL answers 404: the Logux library is not at this path; mend"},
		{backend.CheckAnswer{Status: 429}, "wrong  back-end     URL answers 429: it locked"},
		{backend.CheckAnswer{Status: 502, Array: true}, "wrong  back-end     URL answers 502; look into its log"},
	} {
		var text strings.Builder
		r := &report{out: &text}
		judgeBackend(r, "URL", c.answer)
		if !strings.HasPrefix(text.String(), c.want) || strings.Count(text.String(), "\n") != 1 {
			t.Errorf("%+v: %s", c.answer, &text)
		}
		if err := r.end(); (err != nil) != strings.HasPrefix(c.want, "wrong") {
			t.Errorf("%+v: %v", c.answer, err)
		}
	}
}

// The back-end's certificate is checked as the proxy checks it.
func TestCheckBackendTLS(t *testing.T) {
	back := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		_, _ = io.WriteString(w, " []")
	}))
	cert, key := writeKeyPair(t, filepath.Join(t.TempDir(), "back"), "localhost")
	pair, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		t.Fatal(err)
	}
	back.Config.ErrorLog = log.New(io.Discard, "", 0)
	back.TLS = &tls.Config{Certificates: []tls.Certificate{pair}}
	back.StartTLS()
	defer back.Close()
	byName := strings.Replace(back.URL, "127.0.0.1", "localhost", 1)
	for _, c := range []struct{ url, ca, say string }{
		{byName, cert, "ok     back-end     " + byName},
		{byName, "", "an authority that is not known here; set LOGUX_BACKEND_CA to"},
		{back.URL, cert, "its certificate is for localhost, not for 127.0.0.1; let LOGUX_BACKEND have"},
	} {
		env := with("LOGUX_BACKEND", c.url, "LOGUX_BACKEND_CA", c.ca, "LOGUX_PORT", "0", "LOGUX_ADMIN_ADDR", "off")
		if out, _, code := command(t, env, "", "check"); (code == exitOK) != strings.HasPrefix(c.say, "ok") || !strings.Contains(out, c.say) {
			t.Errorf("%s: %d %q", c.say, code, out)
		}
	}
}

func TestCheckCertificate(t *testing.T) {
	f := newFiles(t)
	c := mustLoad(t, with("LOGUX_CERT", f.cert, "LOGUX_KEY", f.key))
	pair, err := tls.LoadX509KeyPair(f.cert, f.key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(pair.Certificate[0])
	if err != nil {
		t.Fatal(err)
	}
	for want, now := range map[string]time.Time{
		"wrong  certificate  that of LOGUX_CERT ended on ":  leaf.NotAfter.Add(time.Second),
		"warn   certificate  that of LOGUX_CERT ends on ":   leaf.NotAfter.Add(-time.Minute),
		"wrong  certificate  that of LOGUX_CERT begins on ": leaf.NotBefore.Add(-time.Second),
	} {
		var text strings.Builder
		checkCertificate(&report{out: &text}, c, now)
		if !strings.HasPrefix(text.String(), want) {
			t.Errorf("%v: %s", now, &text)
		}
	}
}

func TestJoinAddresses(t *testing.T) {
	for name, want := range map[string]string{
		"10.0.0.1": "10.0.0.1:7946", "10.0.0.1:80": "10.0.0.1:80", "::1": "[::1]:7946", "[::1]": "[::1]:7946", "[::1]:80": "[::1]:80",
	} {
		if got, err := joinAddresses(t.Context(), name, "7946"); err != nil || len(got) != 1 || got[0] != want {
			t.Errorf("%s: %v, %v", name, got, err)
		}
	}
	if got, err := joinAddresses(t.Context(), "nowhere.invalid", "7946"); err == nil {
		t.Errorf("nowhere: %v", got)
	}
}

// No line of a check holds what a URL keeps secret.
func TestCheckHidesTheURL(t *testing.T) {
	u := &url.URL{Scheme: "http", User: url.UserPassword("ops", "canary-3"), Host: freeAddr(t), Path: "/logux", RawQuery: "key=canary-3"}
	out, errs, _ := command(t, with("LOGUX_BACKEND", u.String(), "LOGUX_PORT", "0", "LOGUX_ADMIN_ADDR", "off"), "", "check")
	if strings.Contains(out+errs, "canary") || !strings.Contains(out, u.Host+"/logux does not answer") {
		t.Errorf("%q %q", out, errs)
	}
}
