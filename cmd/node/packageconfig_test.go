package main

import (
	"encoding/json"
	"reflect"
	"testing"
	"time"

	"go.uber.org/zap"

	"logux-proxy/backend"
	"logux-proxy/wire"
)

// Every setting of a package reaches it: values unlike every default arrive.
func TestPackageConfigs(t *testing.T) {
	c := mustLoad(t, with(
		"LOGUX_HOST", "::1", "LOGUX_PORT", "4000", "LOGUX_ID", "a", "LOGUX_LOOPS", "3", "LOGUX_COMPRESSION", "true", "LOGUX_TRUSTED_PROXIES", "10.0.0.0/8",
		"LOGUX_CONTROL_SECRET", "new,old", "LOGUX_CONTROL_MASK", "10.1.0.0/16", "LOGUX_CONTROL_PATH", "/c", "LOGUX_AUDIT", "refused",
		"LOGUX_BACKEND_VERSION", "3", "LOGUX_BACKEND_SUBPROTOCOL", "semver", "LOGUX_BACKEND_CONCURRENCY", "5", "LOGUX_BACKEND_BATCH", "6", "LOGUX_BACKEND_HOLD", "7s",
		"LOGUX_BACKEND_TIMEOUT", "8s", "LOGUX_BACKEND_CONNECT_TIMEOUT", "9s", "LOGUX_BACKEND_RETRY", "all",
		"LOGUX_SUBPROTOCOL", "1.2.3", "LOGUX_PING", "11s", "LOGUX_TIMEOUT", "12s", "LOGUX_CONNECT_TIMEOUT", "13s", "LOGUX_ACK_LIMIT", "14s",
		"LOGUX_MAX_CONNECTIONS", "15", "LOGUX_MAX_MESSAGE", "16KiB", "LOGUX_MAX_QUEUE", "17", "LOGUX_MAX_SUBSCRIPTIONS", "18", "LOGUX_MAX_OUTPUT", "19KiB",
		"LOGUX_CONNECT_RATE", "20", "LOGUX_ACTION_RATE", "21", "LOGUX_MAX_HEADERS", "22KiB", "LOGUX_MAX_TOKEN", "23KiB", "LOGUX_MAX_PREAUTH", "24KiB", "LOGUX_MAX_DEPTH", "25",
	))
	m, log := newMetrics(func() int64 { return 0 }), zap.NewNop()

	tc, err := transportConfig(c, log)
	if err != nil {
		t.Fatal(err)
	}
	if tc.Addr != "[::1]:4000" || tc.TLS != nil || tc.Loops != 3 || !tc.Compression || len(tc.TrustedProxies) != 1 || tc.CheckOrigin == nil || tc.Log == nil ||
		tc.Limits.Connections != 15 || tc.Limits.ConnectRate != 20 || tc.Limits.Message != 16<<10 || tc.Limits.Output != 19<<10 {
		t.Errorf("transport: %+v", tc)
	}

	gc, err := gatewayConfig(c, m, log)
	if err != nil {
		t.Fatal(err)
	}
	if gc.MaxQueue != 17 || gc.MaxSubscriptions != 18 || gc.MaxOutput != 19<<10 || gc.ActionRate != 21 || gc.MaxDepth != 25 || gc.ActionDone == nil || gc.AuthDone == nil || gc.Log == nil {
		t.Errorf("gateway: %+v", gc)
	}
	s := gc.Session
	if s.Server != "server:a" || !s.Development || s.Ping != 11*time.Second || s.Timeout != 12*time.Second || s.ConnectTimeout != 13*time.Second || s.AckLimit != 14*time.Second ||
		s.MaxPreAuth != 24<<10 || s.MaxHeaders != 22<<10 || s.MaxToken != 23<<10 || string(s.Subprotocol) != `"1.2.3"` || s.Supports != nil {
		t.Errorf("session: %+v", s)
	}

	bc, err := backendConfig(c, m, log)
	if err != nil {
		t.Fatal(err)
	}
	if bc.URL != c.Backend || bc.Version != 3 || !reflect.DeepEqual(bc.Secrets, []string{"new", "old"}) || !bc.SemverSubprotocol || bc.Concurrency != 5 || bc.Batch != 6 ||
		bc.Hold != 7*time.Second || bc.Timeout != 8*time.Second || bc.ConnectTimeout != 9*time.Second || bc.Retry != backend.RetryAll || bc.TLS != nil || bc.Observe == nil || bc.Log == nil {
		t.Errorf("backend: %+v", bc)
	}

	cc := controlConfig(c, log)
	if !reflect.DeepEqual(cc.Secrets, []string{"new", "old"}) || len(cc.Mask) != 1 || cc.Path != "/c" || cc.MaxDepth != 25 || !cc.AuditRefused || cc.Log == nil {
		t.Errorf("control: %+v", cc)
	}
}

// 0 is "not at all" to the operator and "the default" to the packages.
func TestNoHold(t *testing.T) {
	c := mustLoad(t, with("LOGUX_BACKEND_HOLD", "0"))
	if bc, err := backendConfig(c, newMetrics(nil), zap.NewNop()); err != nil || bc.Hold >= 0 {
		t.Errorf("hold %v, %v", bc.Hold, err)
	}
}

func TestBackendTLS(t *testing.T) {
	f := newFiles(t)
	c := mustLoad(t, with("LOGUX_BACKEND", "https://x", "LOGUX_BACKEND_CA", f.cert, "LOGUX_BACKEND_CERT", f.cert, "LOGUX_BACKEND_KEY", f.key))
	bc, err := backendConfig(c, newMetrics(nil), zap.NewNop())
	if err != nil || bc.TLS == nil || bc.TLS.RootCAs == nil || len(bc.TLS.Certificates) != 1 {
		t.Errorf("%+v, %v", bc.TLS, err)
	}
}

// LOGUX_SUPPORTS and LOGUX_MIN_SUBPROTOCOL turn clients away before the back-end is asked.
func TestSupports(t *testing.T) {
	for _, c := range []struct {
		supports, least string
		in, out         []string
		told            any // what wrong-subprotocol says is supported
	}{
		{"^2.1.0", "", []string{`"2.1.0"`, `"2.9.3"`}, []string{`"2.0.9"`, `"3.0.0"`, `1`, `"x"`, `"0.0.0"`}, "^2.1.0"},
		{"1.x || >=2.5.0", "", []string{`"1.0.0"`, `"2.5.0"`, `3`}, []string{`"2.4.9"`, `2`}, "1.x || >=2.5.0"},
		{"", "10", []string{`10`, `11`, `"10.2.0"`}, []string{`9`, `0`, `"9.9.9"`, `"x"`}, 10.0},
	} {
		gc, err := gatewayConfig(mustLoad(t, with("LOGUX_SUPPORTS", c.supports, "LOGUX_MIN_SUBPROTOCOL", c.least)), newMetrics(nil), zap.NewNop())
		if err != nil {
			t.Fatal(err)
		}
		for _, used := range c.in {
			if told, ok := gc.Session.Supports(wire.RawJSON(used)); !ok {
				t.Errorf("%s%s: %s is turned away: %s", c.supports, c.least, used, told)
			}
		}
		for _, used := range c.out {
			raw, ok := gc.Session.Supports(wire.RawJSON(used))
			var told any
			if err := json.Unmarshal(raw, &told); ok || err != nil || told != c.told {
				t.Errorf("%s%s: %s: %v, told %s, %v", c.supports, c.least, used, ok, raw, err)
			}
		}
	}
}

func TestRawSubprotocol(t *testing.T) {
	for text, want := range map[string]string{"": "", "10": "10", "1.0.0": `"1.0.0"`} {
		if got := string(rawSubprotocol(text)); got != want {
			t.Errorf("%q is %s, want %s", text, got, want)
		}
	}
}
