package main

import (
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"

	"go.uber.org/zap/zapcore"

	"logux-proxy/backend"
	"logux-proxy/wire"
)

// delivered takes every action.
type delivered struct{}

func (delivered) Deliver(*wire.Action, *wire.Targets, *wire.Trace) error { return nil }

// Who did what at the control API and at the admin listener, as an operator reads it; no secret and no body is in it.
func TestAuditLog(t *testing.T) {
	const canary = "canary-2fd0"
	log, out := logTo("human", zapcore.DebugLevel, false)
	control := backend.NewControl(backend.ControlConfig{
		Secrets: []string{canary}, Mask: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}, Deliverer: delivered{}, Log: log,
	})
	call := func(from, body string) {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/?"+canary, strings.NewReader(body))
		r.RemoteAddr = from
		r.Header.Set("Cookie", canary)
		control.ServeHTTP(httptest.NewRecorder(), r)
	}
	call("10.1.2.3:5000", `{"version":4,"secret":"`+canary+`","commands":[{"command":"action","action":{"type":"posts/add","text":"`+canary+`"},"meta":{"id":"1487805099387 server:uuid 0","channel":"`+canary+`"}}]}`)
	call("10.1.2.3:5000", `{"version":4,"secret":"`+canary+`x","commands":[]}`)
	call("10.1.2.3:5000", `{"version":4,"secret":"`+canary+`"`)
	call("192.0.2.7:5000", `{"version":4,"secret":"`+canary+`","commands":[]}`)

	pages := noPages
	pages.disconnect = disconnectHandler(&disconnecting{}, log)
	pages.drain = newDrainRequest().handler(func() drainAnswer { return drainAnswer{Node: "server:a", Clients: 7} }, log)
	admin := adminHandler(pages, loopbackListener, log)
	askWith(t, admin, "POST", "/disconnect?"+canary, `{"user":"10"}`, "Content-Type: application/json\nCookie: "+canary)
	askWith(t, admin, "POST", "/disconnect", `{"user":`+canary+`}`, "Content-Type: application/json")
	askWith(t, admin, "POST", "/drain?"+canary, canary, "Content-Type: application/x-www-form-urlencoded")
	askWith(t, admin, "POST", "/drain", canary, "Content-Type: application/json")
	ask(t, admin, "GET", "/debug/pprof/goroutine?debug=1&x="+canary)
	ask(t, admin, "GET", "/debug/pprof/trace?seconds=.01")
	ask(t, admin, "GET", "/healthz", "Sec-Fetch-Site", "cross-site", "Cookie", canary)
	for _, path := range []string{"/healthz", "/metrics", "/cluster", "/debug/pprof/", "/"} { // reading is nobody's business
		ask(t, admin, "GET", path)
	}
	if strings.Contains(out.String(), "canary") {
		t.Error("a secret or a body is in the log")
	}
	golden(t, "audit.txt", out.String())
}
