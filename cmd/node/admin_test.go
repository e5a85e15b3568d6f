package main

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"go.uber.org/zap"
)

// ask sends one request to an admin handler that listens on addr.
func ask(t *testing.T, h http.Handler, method, path string, header ...string) *httptest.ResponseRecorder {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), method, path, nil)
	r.Host = "127.0.0.1:31338"
	for i := 0; i < len(header); i += 2 {
		if r.Header.Set(header[i], header[i+1]); header[i] == "Host" {
			r.Host = header[i+1]
		}
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

// askWith is ask with a body, and headers one a line.
func askWith(t *testing.T, h http.Handler, method, path, body, headers string) *httptest.ResponseRecorder {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), method, path, strings.NewReader(body))
	r.Host = "127.0.0.1:31338"
	for line := range strings.Lines(headers) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), ": ")
		r.Header.Set(name, value)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

var noPages = adminPages{metrics: http.NotFoundHandler(), cluster: http.NotFoundHandler(), disconnect: http.NotFoundHandler(), drain: http.NotFoundHandler()}

var loopbackListener = &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 31338}

func TestAdminPages(t *testing.T) {
	var backendTrouble error
	pages := noPages
	pages.parts = []part{
		{"gateway", func() error { return nil }, nil},
		{"drain", func() error { return backendTrouble }, func() string { return "since 5 s" }},
	}
	pages.metrics = newMetrics(func() int64 { return 7 }).handler()
	h := adminHandler(pages, loopbackListener, zap.NewNop())

	for path, want := range map[string]string{
		"/healthz":                      "ok\n",
		"/readyz":                       "gateway: ready\ndrain: ready (since 5 s)\nready\n",
		"/metrics":                      "\nlogux_log_dropped_lines_total 7\n",
		"/debug/pprof/":                 "goroutine",
		"/debug/pprof/heap?debug=1":     "heap profile",
		"/debug/pprof/trace?seconds=.1": "go 1.",
		"/":                             "/readyz",
	} {
		if w := ask(t, h, "GET", path); w.Code != http.StatusOK || !strings.Contains(w.Body.String(), want) {
			t.Errorf("%s: %d %.300q", path, w.Code, w.Body)
		}
	}
	for path, status := range map[string]int{"/nothing": 404, "/debug/vars": 404, "/debug/pprof/cmdline": 404} {
		if w := ask(t, h, "GET", path); w.Code != status {
			t.Errorf("%s: %d, want %d", path, w.Code, status)
		}
	}
	if w := ask(t, h, "POST", "/healthz"); w.Code != http.StatusMethodNotAllowed {
		t.Errorf("POST: %d", w.Code)
	}

	backendTrouble = errors.New("stopping\nnow")
	if w := ask(t, h, "GET", "/readyz"); w.Code != http.StatusServiceUnavailable || w.Body.String() != "gateway: ready\ndrain: not ready, stopping\\nnow (since 5 s)\nnot ready\n" {
		t.Errorf("not ready: %d %q", w.Code, w.Body)
	}
	w := ask(t, h, "GET", "/readyz", "Accept", "application/json")
	var got struct {
		Ready bool
		Parts []struct {
			Name   string
			Ready  bool
			Why    string
			Detail string
		}
	}
	if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil || w.Code != http.StatusServiceUnavailable || got.Ready || len(got.Parts) != 2 || got.Parts[1].Why == "" || got.Parts[1].Detail != "since 5 s" || !got.Parts[0].Ready {
		t.Errorf("JSON: %v %d %s", err, w.Code, w.Body)
	}
	if w := ask(t, h, "GET", "/healthz"); w.Code != http.StatusOK {
		t.Errorf("not ready is not dead: %d", w.Code)
	}
}

// A page in the operator's browser must not reach the listener, by its loopback address or by a
// name that points to it.
func TestAdminRefusesWebPages(t *testing.T) {
	h := adminHandler(noPages, loopbackListener, zap.NewNop())
	for _, header := range [][]string{
		{"Sec-Fetch-Site", "cross-site"}, {"Sec-Fetch-Site", "same-site"}, {"Host", "evil.example"}, {"Host", "evil.example:31338"}, {"Host", "127.0.0.1.evil.example"},
	} {
		if w := ask(t, h, "GET", "/healthz", header...); w.Code != http.StatusForbidden {
			t.Errorf("%v: %d", header, w.Code)
		}
	}
	for _, header := range [][]string{{}, {"Sec-Fetch-Site", "none"}, {"Host", "localhost:31338"}, {"Host", "[::1]:31338"}, {"Host", "127.0.0.1"}} {
		if w := ask(t, h, "GET", "/healthz", header...); w.Code != http.StatusOK {
			t.Errorf("%v: %d", header, w.Code)
		}
	}
	public := adminHandler(noPages, &net.TCPAddr{IP: net.IPv4zero, Port: 1}, zap.NewNop())
	if w := ask(t, public, "GET", "/healthz", "Host", "pod.cluster.local"); w.Code != http.StatusOK {
		t.Errorf("a name on a public listener: %d", w.Code)
	}
}

func TestAdminListener(t *testing.T) {
	c := mustLoad(t, with("LOGUX_ADMIN_ADDR", "127.0.0.1:0"))
	a, err := newAdmin(c, noPages, zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- a.Run(ctx) }()
	response, err := http.Get("http://" + a.addr() + "/healthz")
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(response.Body)
	if err != nil || string(text) != "ok\n" {
		t.Errorf("%q, %v", text, err)
	}
	if err := response.Body.Close(); err != nil {
		t.Error(err)
	}

	_, err = newAdmin(mustLoad(t, with("LOGUX_ADMIN_ADDR", a.addr())), noPages, zap.NewNop())
	checkSettingError(t, err, "admin-addr", "another program listens")

	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	http.DefaultClient.CloseIdleConnections()

	off, err := newAdmin(mustLoad(t, with("LOGUX_ADMIN_ADDR", "off")), noPages, zap.NewNop())
	if off != nil || err != nil || off.addr() != "" || off.Run(t.Context()) != nil {
		t.Errorf("off: %v, %v", off, err)
	}
}
