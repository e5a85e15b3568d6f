package main

import (
	"crypto/tls"
	"crypto/x509"
	"net/http"
	"net/url"
	"regexp"
	"strings"

	"go.opentelemetry.io/otel/attribute"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
)

// A traceEnvironment is what the variables of OpenTelemetry say, which an operator may have set for all programs.
type traceEnvironment struct {
	headers  http.Header // of requests to the collector; they may hold a key, so this is not to be printed
	tls      *tls.Config // how an https:// collector is checked; nil means the system's way
	resource []attribute.KeyValue
}

// checkTrace checks where traces go, and reads the variables of OpenTelemetry that are heard. Without LOGUX_TRACE they are
// nobody's business.
func (c *Config) checkTrace(env environment) error {
	if c.Trace == nil {
		return nil
	}
	if strings.EqualFold(env["OTEL_SDK_DISABLED"], "true") {
		c.Trace = nil
		return nil
	}
	if c.Trace.User != nil {
		return &settingError{Setting: "trace", Wrong: "holds a name or a password", Mend: "send a key by OTEL_EXPORTER_OTLP_HEADERS"}
	}
	var err error
	if c.traceEnv.headers, err = readTraceHeaders(env); err != nil {
		return err
	}
	if c.traceEnv.tls, err = readTraceAuthority(env); err != nil {
		return err
	}
	c.traceEnv.resource, err = readTraceResource(env)
	return err
}

// traceURL is where traces are posted.
func (c *Config) traceURL() *url.URL {
	u := *c.Trace
	if u.Path == "" || u.Path == "/" {
		u.Path = "/v1/traces"
	}
	return &u
}

var (
	headerName  = regexp.MustCompile("^[!#$%&'*+.^_`|~0-9A-Za-z-]+$")
	headerValue = regexp.MustCompile(`^[\t\x20-\x7e\x{80}-\x{10ffff}]*$`)
)

// readTraceHeaders reads name=value pairs with commas. The values are secret, so no message holds one.
func readTraceHeaders(env environment) (http.Header, error) {
	name := "OTEL_EXPORTER_OTLP_TRACES_HEADERS"
	if env[name] == "" {
		name = "OTEL_EXPORTER_OTLP_HEADERS"
	}
	headers := make(http.Header)
	for key, value := range pairs(env[name]) {
		if value == nil || !headerName.MatchString(key) || !headerValue.MatchString(*value) {
			return nil, &settingError{Wrong: name + " is unreadable", Mend: "write it as NAME=VALUE,NAME=VALUE, with spaces, commas and % in values as %20, %2C and %25"}
		}
		headers.Set(key, *value)
	}
	return headers, nil
}

// readTraceAuthority reads the file of certificates that an https:// collector is checked with.
func readTraceAuthority(env environment) (*tls.Config, error) {
	name := "OTEL_EXPORTER_OTLP_TRACES_CERTIFICATE"
	if env[name] == "" {
		name = "OTEL_EXPORTER_OTLP_CERTIFICATE"
	}
	path := env[name]
	if path == "" {
		return nil, nil
	}
	text, err := readAtMost(path, maxFile)
	if err != nil {
		return nil, &settingError{Wrong: name + " names the file " + quote(path) + ", which cannot be read: " + reason(err), Mend: "mend the path or the file's permissions"}
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(text) {
		return nil, &settingError{Wrong: name + " names the file " + quote(path) + ", which holds no certificate", Mend: "use a PEM file that begins with -----BEGIN CERTIFICATE-----"}
	}
	return &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}, nil
}

// readTraceResource reads what the environment says of this node.
func readTraceResource(env environment) (attributes []attribute.KeyValue, err error) {
	for key, value := range pairs(env["OTEL_RESOURCE_ATTRIBUTES"]) {
		if value == nil || key == "" {
			return nil, &settingError{
				Wrong: "OTEL_RESOURCE_ATTRIBUTES is unreadable",
				Mend:  "write it as deployment.environment.name=production,service.namespace=shop, with spaces, commas and % in values as %20, %2C and %25",
			}
		}
		attributes = append(attributes, attribute.String(key, *value))
	}
	if name := env["OTEL_SERVICE_NAME"]; name != "" {
		attributes = append(attributes, semconv.ServiceName(name))
	}
	return attributes, nil
}

// pairs yields the key=value pairs of a list with commas; the value, which is percent-encoded, is nil where there is none
// that can be read.
func pairs(list string) func(yield func(string, *string) bool) {
	return func(yield func(string, *string) bool) {
		for pair := range strings.SplitSeq(list, ",") {
			if strings.TrimSpace(pair) == "" {
				continue
			}
			key, text, found := strings.Cut(pair, "=")
			value := new(string)
			var err error
			if *value, err = url.PathUnescape(strings.TrimSpace(text)); err != nil || !found {
				value = nil
			}
			if !yield(strings.TrimSpace(key), value) {
				return
			}
		}
	}
}
