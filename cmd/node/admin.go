package main

import (
	"encoding/json"
	"net"
	"net/http"
	"net/http/pprof"
	"net/netip"
	"strings"

	"go.uber.org/zap"
)

// A part of the node says whether it can serve. Neither function may block.
type part struct {
	name   string
	ready  func() error  // nil, or why it cannot
	detail func() string // what there is to know besides; nil for nothing
}

// adminPages are what the admin listener serves, beside /healthz and /debug/pprof.
type adminPages struct {
	parts      []part       // for /readyz
	metrics    http.Handler // /metrics
	cluster    http.Handler // /cluster and /cluster.json
	disconnect http.Handler // POST /disconnect
	drain      http.Handler // POST /drain
}

// newAdmin opens the listener for the operator. It returns nil when the setting says off.
func newAdmin(c *Config, pages adminPages, log *zap.Logger) (*httpListener, error) {
	addr := c.adminAddr()
	if addr == "" {
		return nil, nil
	}
	l, err := newHTTPListener("admin-addr", addr, nil, log)
	if err != nil {
		return nil, err
	}
	l.server.Handler = adminHandler(pages, l.listener.Addr(), log)
	return l, nil
}

func adminHandler(pages adminPages, addr net.Addr, log *zap.Logger) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { writeText(w, http.StatusOK, "ok\n") })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, r *http.Request) { writeReadiness(w, r, pages.parts) })
	mux.Handle("GET /metrics", pages.metrics)
	mux.Handle("GET /cluster", pages.cluster)
	mux.Handle("GET /cluster.json", pages.cluster)
	mux.Handle("POST /disconnect", pages.disconnect)
	mux.Handle("POST /drain", pages.drain)
	// Not pprof.Cmdline: a secret may be among the arguments.
	mux.HandleFunc("GET /debug/pprof/", pprof.Index)
	mux.HandleFunc("GET /debug/pprof/cmdline", http.NotFound)
	mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
	mux.HandleFunc("GET /debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("POST /debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) {
		writeText(w, http.StatusOK, "logux-proxy\n\n/healthz\n/readyz\n/metrics\n/cluster\n/cluster.json\n/disconnect (POST)\n/drain (POST)\n/debug/pprof/\n")
	})
	return notFromWebPages(profilesLogged(mux, log), addr, newRefusalLog(log))
}

// notFromWebPages refuses what a browser sends on behalf of a web site: a listener on a loopback
// address is reachable for every page that the operator has open.
func notFromWebPages(next http.Handler, addr net.Addr, refused refusalLog) http.Handler {
	local, err := netip.ParseAddrPort(addr.String())
	loopback := err == nil && local.Addr().IsLoopback()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		site := r.Header.Get("Sec-Fetch-Site")
		if site == "cross-site" || site == "same-site" || loopback && !loopbackHost(r.Host) {
			const text = "Web pages may not call the admin listener"
			refused.add(r, http.StatusForbidden, text)
			writeText(w, http.StatusForbidden, text+"\n")
			return
		}
		next.ServeHTTP(w, r)
	})
}

// loopbackHost reports whether a Host header names this machine by an address of its own, and not a
// domain that somebody lets point to it.
func loopbackHost(host string) bool {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	host = strings.Trim(host, "[]")
	return host == "" || isAddress(host) || strings.EqualFold(host, "localhost")
}

// writeReadiness answers 200 when all parts are ready and 503 otherwise, with a line for each.
func writeReadiness(w http.ResponseWriter, r *http.Request, parts []part) {
	type state struct {
		Name   string `json:"name"`
		Ready  bool   `json:"ready"`
		Why    string `json:"why,omitempty"`
		Detail string `json:"detail,omitempty"`
	}
	all := struct {
		Ready bool    `json:"ready"`
		Parts []state `json:"parts"`
	}{Ready: true, Parts: []state{}}
	for _, p := range parts {
		s := state{Name: p.name, Ready: true}
		if err := p.ready(); err != nil {
			s.Ready, s.Why, all.Ready = false, oneLine(cut(err.Error(), maxLogField)), false
		}
		if p.detail != nil {
			s.Detail = p.detail()
		}
		all.Parts = append(all.Parts, s)
	}
	status := http.StatusOK
	if !all.Ready {
		status = http.StatusServiceUnavailable
	}
	if strings.Contains(r.Header.Get("Accept"), "application/json") {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		_ = json.NewEncoder(w).Encode(all)
		return
	}
	var text strings.Builder
	for _, s := range all.Parts {
		text.WriteString(s.Name + ": ")
		if s.Ready {
			text.WriteString("ready")
		} else {
			text.WriteString("not ready, " + s.Why)
		}
		if s.Detail != "" {
			text.WriteString(" (" + s.Detail + ")")
		}
		text.WriteByte('\n')
	}
	if all.Ready {
		text.WriteString("ready\n")
	} else {
		text.WriteString("not ready\n")
	}
	writeText(w, status, text.String())
}

func writeText(w http.ResponseWriter, status int, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	_, _ = w.Write([]byte(text))
}
