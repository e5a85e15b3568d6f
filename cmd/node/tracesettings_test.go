package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// The variables of OpenTelemetry are read as its specification says, and wrong ones stop the start with a line that shows no value.
func TestTraceEnvironment(t *testing.T) {
	on := func(pairs ...string) environment {
		return with(append([]string{"LOGUX_TRACE", "http://127.0.0.1:4318"}, pairs...)...)
	}
	c := mustLoad(t, on("OTEL_EXPORTER_OTLP_HEADERS", "general=1", "OTEL_EXPORTER_OTLP_TRACES_HEADERS", " api-key = a%20b%2C%3D , x=,",
		"OTEL_RESOURCE_ATTRIBUTES", "service.name=a,team=%E2%9C%93,team=last"))
	if h := c.traceEnv.headers; len(h) != 2 || h.Get("Api-Key") != "a b,=" || len(h["X"]) != 1 {
		t.Errorf("headers %v", h)
	}
	if text := fmt.Sprint(traceResource(c)); !strings.Contains(text, "service.name=a,") || !strings.Contains(text, "team=last") || !strings.Contains(text, "service.instance.id=server:"+c.ID) {
		t.Errorf("resource %s", text)
	}
	if text := fmt.Sprint(traceResource(mustLoad(t, on()))); !strings.Contains(text, "service.name=logux-proxy,") {
		t.Errorf("resource %s", text)
	}
	for _, pair := range [][2]string{
		{"OTEL_EXPORTER_OTLP_HEADERS", "canary"}, {"OTEL_EXPORTER_OTLP_HEADERS", "a b=canary"}, {"OTEL_EXPORTER_OTLP_HEADERS", "a=canary%0d%0ax"},
		{"OTEL_EXPORTER_OTLP_HEADERS", "=canary"}, {"OTEL_EXPORTER_OTLP_TRACES_HEADERS", "a=canary%zz"},
		{"OTEL_RESOURCE_ATTRIBUTES", "canary"}, {"OTEL_RESOURCE_ATTRIBUTES", "=canary"}, {"OTEL_RESOURCE_ATTRIBUTES", "a=canary%"},
	} {
		if _, err := load(on(pair[0], pair[1])); err == nil || !strings.Contains(err.Error(), pair[0]+" is unreadable; ") || strings.Contains(err.Error(), "canary") {
			t.Errorf("%v: %v", pair, err)
		}
		if _, err := load(with(pair[0], pair[1])); err != nil {
			t.Errorf("%v stops a node that traces nothing: %v", pair, err)
		}
	}
	none := filepath.Join(t.TempDir(), "none.pem")
	if err := os.WriteFile(none, []byte("text"), 0o600); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{none: "holds no certificate", none + "x": "cannot be read"} {
		if _, err := load(on("OTEL_EXPORTER_OTLP_CERTIFICATE", path)); err == nil || !strings.Contains(err.Error(), "OTEL_EXPORTER_OTLP_CERTIFICATE names the file") || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", path, err)
		}
	}
	if c := mustLoad(t, on("OTEL_SDK_DISABLED", "true")); c.Trace != nil {
		t.Error("OTEL_SDK_DISABLED is not heard")
	}
}

func TestTraceURL(t *testing.T) {
	for text, want := range map[string]string{
		"http://x:4318": "http://x:4318/v1/traces", "http://x:4318/": "http://x:4318/v1/traces", "https://x/otlp/v1/traces": "https://x/otlp/v1/traces",
		"https://x/otlp/": "https://x/otlp/", "https://x?key=1": "https://x/v1/traces?key=1",
	} {
		c := mustLoad(t, with("LOGUX_TRACE", text))
		if got := c.traceURL().String(); got != want {
			t.Errorf("%s: %s, want %s", text, got, want)
		}
		if c.Trace.String() != text {
			t.Error("the setting was changed")
		}
	}
}
