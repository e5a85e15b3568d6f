package main

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/big"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/zap/zapcore"

	"logux-proxy/cluster"
)

// enough is the least that a node starts with.
var enough = environment{"LOGUX_BACKEND": "http://127.0.0.1:3000/", "LOGUX_CONTROL_SECRET": "0123456789abcdef"}

// with returns enough and more; an empty value takes a variable away.
func with(pairs ...string) environment {
	env := maps.Clone(enough)
	for i := 0; i < len(pairs); i += 2 {
		env[pairs[i]] = pairs[i+1]
		if pairs[i+1] == "" {
			delete(env, pairs[i])
		}
	}
	return env
}

// load reads settings as the program does.
func load(env environment, args ...string) (*Config, error) {
	var line commandLine
	ctx, err := parseCommandLine(&line, args, &process{Env: env, Stdout: io.Discard, Stderr: io.Discard})
	if err != nil {
		return nil, err
	}
	return &line.Run.Config, line.Run.complete(ctx, env)
}

func mustLoad(t *testing.T, env environment, args ...string) *Config {
	t.Helper()
	c, err := load(env, args...)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// files are what settings name: a key pair, another key, and text that is none of these.
type files struct{ cert, key, otherKey, text, missing, redis, keys string }

func newFiles(t *testing.T) files {
	t.Helper()
	dir := t.TempDir()
	f := files{text: filepath.Join(dir, "text"), missing: filepath.Join(dir, "missing")}
	f.cert, f.key = writeKeyPair(t, filepath.Join(dir, "a"), "a.example.com")
	_, f.otherKey = writeKeyPair(t, filepath.Join(dir, "b"), "b.example.com")
	writeFile(t, f.text, "some text")
	return f
}

func writeFile(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// writeKeyPair writes a self-signed certificate for name to prefix.crt and its key to prefix.key.
func writeKeyPair(t *testing.T, prefix, name string) (cert, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()),
		DNSNames:     []string{name},
		NotBefore:    time.Now().Add(-time.Hour),
		NotAfter:     time.Now().Add(time.Hour),
	}
	certDER, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	cert, key = prefix+".crt", prefix+".key"
	writeFile(t, cert, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: certDER})))
	writeFile(t, key, string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER})))
	return cert, key
}

// A settingCase is what one setting takes and what it does not.
type settingCase struct {
	initial any               // the default, given enough (development); nil when it is random
	valid   map[string]any    // text → value of the field
	also    environment       // what valid values need beside them
	invalid []string          // refused with a message that names the setting
	wrong   map[string]string // the same → part of the message
}

// gossip is enough for a node of a cluster on this machine, and more.
func gossip(pairs ...string) environment {
	return with(append([]string{"LOGUX_REDIS", "redis://x", "LOGUX_GOSSIP_ADDR", "127.0.0.1:7946"}, pairs...)...)
}

func settingCases(t *testing.T) map[string]settingCase {
	t.Helper()
	f := newFiles(t)
	prefixes := func(list ...string) (networks []netip.Prefix) {
		for _, text := range list {
			networks = append(networks, netip.MustParsePrefix(text))
		}
		return networks
	}
	parsed := func(text string) *url.URL {
		u, err := url.Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		return u
	}
	times := []string{"30", "x", "-1s", "1000h", "5 parsecs"}
	sizes := []string{"x", "-1", "1TB1", "1e3", "9999GiB", "99999999999GiB", "1"}
	numbers := []string{"x", "-1", "1.5", "99999999999999999999", "1e3", "0x10"}
	paths := []string{f.missing, filepath.Dir(f.text), "/dev/zero"}
	https := with("LOGUX_BACKEND", "https://example.com/")
	key, otherKey := base64.StdEncoding.EncodeToString(make([]byte, 32)), base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{7}, 16))
	f.redis, f.keys = filepath.Join(filepath.Dir(f.text), "redis"), filepath.Join(filepath.Dir(f.text), "keys")
	writeFile(t, f.redis, "redis://:secret@x\nredis://y:1\n")
	writeFile(t, f.keys, key+"\n"+otherKey+"\n")
	return map[string]settingCase{
		"host":                {initial: "127.0.0.1", valid: map[string]any{"0.0.0.0": "0.0.0.0", "::1": "::1", "localhost": "localhost"}, invalid: []string{"[::1]", "127.0.0.1:80", "a b", "http://x"}},
		"port":                {initial: 31337, valid: map[string]any{"0": 0, "65535": 65535, "8_080": 8080}, invalid: append(numbers, "65536", "tcp:80")},
		"id":                  {valid: map[string]any{"pod-1.a_b": "pod-1.a_b"}, invalid: []string{"a b", "a:b", "ü", strings.Repeat("x", 65)}},
		"env":                 {initial: development, valid: map[string]any{"production": production, "Development": development}, invalid: []string{"test", "prod"}},
		"key":                 {initial: "", valid: map[string]any{f.key: f.key}, also: environment{"LOGUX_CERT": f.cert}, invalid: append(paths, f.text, f.cert)},
		"cert":                {initial: "", valid: map[string]any{f.cert: f.cert}, also: environment{"LOGUX_KEY": f.key}, invalid: append(paths, f.text), wrong: map[string]string{"": "is set without"}},
		"origins":             {initial: []string(nil), valid: map[string]any{"https://a.example, https://*.b.example:8080,": []string{"https://a.example", "https://*.b.example:8080"}, "*": []string{"*"}}, invalid: []string{"example.com", "https://a.example/path", "https://*", "https://a*.example", "null", "https://u@a.example"}},
		"trusted-proxies":     {initial: []netip.Prefix(nil), valid: map[string]any{"10.0.0.0/8,::1": prefixes("10.0.0.0/8", "::1/128")}, invalid: []string{"10.0.0.0/33", "example.com", "fe80::1%eth0", "10.0.0"}},
		"loops":               {initial: 0, valid: map[string]any{"4": 4}, invalid: append(numbers, "1025")},
		"compression":         {initial: false, valid: map[string]any{"true": true, "1": true, "on": true, "no": false}, invalid: []string{"maybe", "2"}},
		"backend":             {initial: parsed("http://127.0.0.1:3000/"), valid: map[string]any{"https://example.com:8443/logux?x=1": parsed("https://example.com:8443/logux?x=1")}, invalid: []string{"example.com", "file:///etc/passwd", "http://", "http://x:0", "http://x:99999", "http://x/#y", "ws://x", "http://%zz"}},
		"control-secret":      {initial: secrets{"0123456789abcdef"}, valid: map[string]any{"new, old": secrets{"new", "old"}}, wrong: map[string]string{",": "is not set"}},
		"control-secret-file": {initial: "", valid: map[string]any{f.text: f.text}, also: environment{"LOGUX_CONTROL_SECRET": ""}, invalid: append(paths, f.text)},
		"control-mask":        {initial: prefixes("127.0.0.0/8"), valid: map[string]any{"192.168.1.7, fd00::/8": prefixes("192.168.1.7/32", "fd00::/8")}, invalid: []string{"127.0.0.1/x", "all", "::/129"}},
		"control-addr":        {initial: "", valid: map[string]any{"127.0.0.1:31400": "127.0.0.1:31400"}, invalid: []string{"31400", ":31400", "127.0.0.1:x", "127.0.0.1:70000", "127.0.0.1:31337", "127.0.0.1:31338"}},
		"control-path":        {initial: "", valid: map[string]any{"/logux": "/logux"}, invalid: []string{"logux"}},
		"backend-version":     {initial: 4, valid: map[string]any{"2": 2, "3": 3}, invalid: append(numbers, "1", "5")},
		"backend-subprotocol": {initial: "raw", valid: map[string]any{"semver": "semver"}, invalid: []string{"number"}},
		"backend-concurrency": {initial: 64, valid: map[string]any{"1": 1}, invalid: append(numbers, "0")},
		"backend-batch":       {initial: 50, valid: map[string]any{"1": 1}, invalid: append(numbers, "0")},
		"backend-hold":        {initial: time.Duration(0), valid: map[string]any{"90s": 90 * time.Second, "0": time.Duration(0)}, invalid: times},
		"backend-timeout":     {initial: time.Minute, valid: map[string]any{"1m30s": 90 * time.Second}, invalid: append(times, "0s")},
		"backend-connect-timeout": {
			initial: 5 * time.Second, valid: map[string]any{"500ms": 500 * time.Millisecond}, invalid: append(times, "0"),
		},
		"backend-retry": {initial: "safe", valid: map[string]any{"all": "all"}, invalid: []string{"never"}},
		"backend-ca":    {initial: "", valid: map[string]any{f.cert: f.cert}, also: https, invalid: append(paths, f.text)},
		"backend-cert": {
			initial: "", valid: map[string]any{f.cert: f.cert}, also: environment{"LOGUX_BACKEND": "https://example.com/", "LOGUX_BACKEND_KEY": f.key},
			invalid: append(paths, f.text),
		},
		"backend-key": {
			initial: "", valid: map[string]any{f.key: f.key}, also: environment{"LOGUX_BACKEND": "https://example.com/", "LOGUX_BACKEND_CERT": f.cert},
			invalid: append(paths, f.text, f.otherKey),
		},
		"subprotocol":       {initial: "", valid: map[string]any{"1.2.3": "1.2.3", "10": "10"}, invalid: []string{"v1", "1.2", "-1", "abc"}},
		"supports":          {initial: "", valid: map[string]any{"^2.1.0": "^2.1.0", "1.x || >=2.5.0": "1.x || >=2.5.0"}, invalid: []string{"two", ">=", "^"}},
		"min-subprotocol":   {initial: 0, valid: map[string]any{"12": 12}, invalid: numbers},
		"ping":              {initial: 20 * time.Second, valid: map[string]any{"10s": 10 * time.Second}, invalid: append(times, "70s", "71s", "0")},
		"timeout":           {initial: 70 * time.Second, valid: map[string]any{"21s": 21 * time.Second}, invalid: append(times, "0")},
		"connect-timeout":   {initial: 70 * time.Second, valid: map[string]any{"3s": 3 * time.Second}, invalid: append(times, "0")},
		"ack-limit":         {initial: 15 * time.Second, valid: map[string]any{"5s": 5 * time.Second}, invalid: append(times, "0")},
		"max-connections":   {initial: 1_000_000, valid: map[string]any{"20000": 20000}, invalid: append(numbers, "0")},
		"max-message":       {initial: byteSize(1 << 20), valid: map[string]any{"64KiB": byteSize(65536), "64 kb": byteSize(64000), "2048": byteSize(2048), "2048B": byteSize(2048)}, invalid: sizes},
		"max-queue":         {initial: 1000, valid: map[string]any{"10": 10}, invalid: append(numbers, "0")},
		"max-subscriptions": {initial: 1000, valid: map[string]any{"10": 10}, invalid: append(numbers, "0")},
		"max-output":        {initial: byteSize(1 << 20), valid: map[string]any{"2MB": byteSize(2_000_000)}, invalid: append(sizes, "1MB")},
		"connect-rate":      {initial: 5000, valid: map[string]any{"10": 10}, invalid: append(numbers, "0")},
		"action-rate":       {initial: 1000, valid: map[string]any{"10": 10}, invalid: append(numbers, "0")},
		"max-headers":       {initial: byteSize(8 << 10), valid: map[string]any{"1KiB": byteSize(1024)}, invalid: sizes},
		"max-token":         {initial: byteSize(16 << 10), valid: map[string]any{"1KiB": byteSize(1024)}, invalid: sizes},
		"max-preauth":       {initial: byteSize(64 << 10), valid: map[string]any{"1MiB": byteSize(1 << 20)}, invalid: append(sizes, "15KiB")},
		"max-depth":         {initial: 64, valid: map[string]any{"10": 10}, invalid: append(numbers, "3")},
		"redis": {
			initial: (*cluster.Redis)(nil), valid: map[string]any{"redis://:p%2Fw@x:7/2": "x:7/2", "redis+cluster://a,b:1": "a:6379,b:1"},
			invalid: []string{"x:6379", "http://x", "redis://", "redis://x:0", "redis://x?unknown=1", "redis://:a/b@x"},
		},
		"redis-file":       {initial: "", valid: map[string]any{f.redis: f.redis}, invalid: append(paths, f.text)},
		"gossip-addr":      {initial: "off", valid: map[string]any{"127.0.0.1:7946": "127.0.0.1:7946", "[::1]:0": "[::1]:0", "localhost:1": "localhost:1", "OFF": "OFF"}, also: gossip("LOGUX_GOSSIP_ADDR", ""), invalid: []string{"7946", ":7946", "127.0.0.1:x", "127.0.0.1:31337", "127.0.0.1:31338", "node-1:7946", "127.0.0.1:7946"}},
		"gossip-advertise": {initial: "", valid: map[string]any{"10.1.2.3:7": "10.1.2.3:7", "10.1.2.3": "10.1.2.3", "fd00::1": "fd00::1"}, also: gossip(), invalid: []string{"10.1.2.3"}, wrong: map[string]string{"": "without LOGUX_GOSSIP_ADDR"}},
		"join":             {initial: []string(nil), valid: map[string]any{"node-2, 10.0.0.1:7,[::1]:7,::1": []string{"node-2", "10.0.0.1:7", "[::1]:7", "::1"}}, also: gossip(), invalid: []string{"node-2"}, wrong: map[string]string{"": "without LOGUX_GOSSIP_ADDR"}},
		"gossip-key":       {initial: gossipKeys(nil), valid: map[string]any{key: gossipKeys{make([]byte, 32)}, key + "," + otherKey: gossipKeys{make([]byte, 32), bytes.Repeat([]byte{7}, 16)}}, also: gossip(), invalid: []string{"###", "AAAAAAAAAAAAAAAAAAAA", key, key + ",x"}},
		"gossip-key-file":  {initial: "", valid: map[string]any{f.keys: f.keys}, also: gossip(), invalid: append(paths, f.text, f.keys)},
		"gossip-plain":     {initial: false, valid: map[string]any{"true": true}, also: gossip(), invalid: []string{"maybe", "true"}},
		"cluster":          {initial: "logux", valid: map[string]any{"blue-2.0": "blue-2.0"}, also: gossip(), invalid: []string{"blue"}},
		"rebalance":        {initial: true, valid: map[string]any{"off": false, "true": true}, invalid: []string{"maybe"}},
		"rebalance-rate":   {initial: 50, valid: map[string]any{"7": 7}, invalid: append(numbers, "0")},
		"rebalance-margin": {initial: 10, valid: map[string]any{"25": 25}, invalid: append(numbers, "0")},
		"rebalance-min":    {initial: 500, valid: map[string]any{"1": 1}, invalid: append(numbers, "0")},
		"rebalance-delay":  {initial: 20 * time.Second, valid: map[string]any{"1m": time.Minute}, invalid: append(times, "0s")},

		"logger":    {initial: "human", valid: map[string]any{"json": "json", "HUMAN": "human"}, invalid: []string{"pino"}},
		"log-level": {initial: zapcore.InfoLevel, valid: map[string]any{"debug": zapcore.DebugLevel, "info": zapcore.InfoLevel, "warning": zapcore.WarnLevel, "error": zapcore.ErrorLevel}, invalid: []string{"loud"}},
		"audit":     {initial: "all", valid: map[string]any{"refused": "refused", "All": "all"}, invalid: []string{"off", "accepted"}},
		"trace": {
			valid:   map[string]any{"http://127.0.0.1:4318": parsed("http://127.0.0.1:4318"), "https://otel.example.com/x?y=1": parsed("https://otel.example.com/x?y=1")},
			invalid: []string{"127.0.0.1:4318", "on", "grpc://x:4317", "http://", "http://user:canary@x:4318", "http://x/#y"},
		},
		"trace-ratio": {initial: ratio(0.01), valid: map[string]any{"0": ratio(0), "1": ratio(1), "0.5": ratio(0.5), "1e-3": ratio(0.001)}, invalid: []string{"-0.1", "1.1", "NaN", "Inf", "1%", "x"}},
		"admin-addr":  {initial: "127.0.0.1:31338", valid: map[string]any{"off": "off", "[::1]:9000": "[::1]:9000"}, invalid: []string{"9000", ":9000", "on", "127.0.0.1:31337"}},
		"drain-grace": {initial: time.Duration(0), valid: map[string]any{"2s": 2 * time.Second}, invalid: times},
		"drain-time":  {initial: time.Duration(0), valid: map[string]any{"2m": 2 * time.Minute}, invalid: times},
	}
}

// values are the fields of a Config by their flag's name.
func values(t *testing.T, env environment, args ...string) (map[string]any, error) {
	t.Helper()
	var line commandLine
	p := &process{Env: env, Stdout: io.Discard, Stderr: io.Discard}
	ctx, err := parseCommandLine(&line, args, p)
	if err != nil {
		return nil, err
	}
	if err := line.Run.complete(ctx, env); err != nil {
		return nil, err
	}
	fields := make(map[string]any)
	for _, flag := range settings(ctx.Model) {
		fields[flag.Name] = flag.Target.Interface()
	}
	return fields, nil
}

// sameValue compares secrets as well, which hide themselves.
func sameValue(a, b any) bool {
	if x, ok := a.(secrets); ok {
		y, ok := b.(secrets)
		return ok && slices.Equal(x, y)
	}
	if r, ok := a.(*cluster.Redis); ok && r != nil { // by the names of its servers
		return r.String() == b
	}
	return cmp.Equal(a, b, cmp.Comparer(func(x, y netip.Prefix) bool { return x == y }))
}

// Each setting can be given as a variable and as a flag, has its default, and refuses what is wrong
// with one line that names it.
func TestEverySetting(t *testing.T) {
	parser, err := newParser(&commandLine{}, nil, io.Discard, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	cases := settingCases(t)
	initial, err := values(t, enough)
	if err != nil {
		t.Fatal(err)
	}
	for _, flag := range settings(parser.Model) {
		name := flag.Name
		c, found := cases[name]
		if !found {
			t.Errorf("no case for %s", name)
			continue
		}
		delete(cases, name)
		t.Run(name, func(t *testing.T) {
			if c.initial != nil && !sameValue(initial[name], c.initial) {
				t.Errorf("default is %v, want %v", initial[name], c.initial)
			}
			if len(c.valid) == 0 || len(c.invalid)+len(c.wrong) == 0 {
				t.Error("needs valid and invalid values")
			}
			for text, want := range c.valid {
				base := with()
				maps.Copy(base, c.also)
				maps.DeleteFunc(base, func(_, value string) bool { return value == "" })
				asVariable := maps.Clone(base)
				asVariable[envName(name)] = text
				for how, got := range map[string]func() (map[string]any, error){
					"variable": func() (map[string]any, error) { return values(t, asVariable) },
					"flag":     func() (map[string]any, error) { return values(t, base, "--"+name+"="+text) },
				} {
					if fields, err := got(); err != nil {
						t.Errorf("%s %q: %v", how, text, err)
					} else if !sameValue(fields[name], want) {
						t.Errorf("%s %q is %v, want %v", how, text, fields[name], want)
					}
				}
			}
			for _, text := range c.invalid {
				_, err := load(with(envName(name), text))
				checkSettingError(t, err, name, "")
				_, err = load(enough, "--"+name+"="+text)
				checkSettingError(t, err, name, "")
			}
			for text, part := range c.wrong {
				_, err := load(with(envName(name), text), "--"+name+"="+text)
				if text == "" {
					_, err = load(with(envName(name), "/nowhere"))
				}
				checkSettingError(t, err, name, part)
			}
		})
	}
	for name := range cases {
		t.Errorf("case for the unknown setting %s", name)
	}
}

// checkSettingError wants one line that names the setting, says what is wrong and how to mend it.
func checkSettingError(t *testing.T, err error, name, part string) {
	t.Helper()
	var wrong *settingError
	if !errors.As(err, &wrong) {
		t.Errorf("%s: got %v, want a settingError", name, err)
		return
	}
	text := wrong.Error()
	if !strings.Contains(text, envName(name)) || !strings.Contains(text, "; ") || strings.ContainsAny(text, "\n\r") || !strings.Contains(text, part) {
		t.Errorf("%s: unclear message: %s", name, text)
	}
	if len(text) > 400 {
		t.Errorf("%s: message of %d bytes", name, len(text))
	}
}

// Settings are held against each other.
func TestCrossChecks(t *testing.T) {
	f := newFiles(t)
	for name, c := range map[string]struct {
		env     environment
		setting string
		part    string
	}{
		"no back-end":                      {with("LOGUX_BACKEND", ""), "backend", "is not set"},
		"back-end without a secret":        {with("LOGUX_CONTROL_SECRET", ""), "control-secret", "openssl rand"},
		"secret twice":                     {with("LOGUX_CONTROL_SECRET_FILE", f.text), "control-secret-file", "both set"},
		"key without certificate":          {with("LOGUX_KEY", f.key), "key", "without LOGUX_CERT"},
		"certificate without key":          {with("LOGUX_CERT", f.cert), "cert", "without LOGUX_KEY"},
		"key of another certificate":       {with("LOGUX_CERT", f.cert, "LOGUX_KEY", f.otherKey), "cert", "do not go together"},
		"CA for http":                      {with("LOGUX_BACKEND_CA", f.cert), "backend-ca", "not https://"},
		"client certificate without key":   {with("LOGUX_BACKEND", "https://x", "LOGUX_BACKEND_CERT", f.cert), "backend-cert", "without LOGUX_BACKEND_KEY"},
		"client key without certificate":   {with("LOGUX_BACKEND", "https://x", "LOGUX_BACKEND_KEY", f.key), "backend-key", "without LOGUX_BACKEND_CERT"},
		"ping as long as the timeout":      {with("LOGUX_PING", "70s"), "ping", "LOGUX_TIMEOUT"},
		"admin on the main port":           {with("LOGUX_ADMIN_ADDR", "127.0.0.1:31337"), "admin-addr", "another port"},
		"control on the admin's port":      {with("LOGUX_CONTROL_ADDR", "127.0.0.1:31338"), "admin-addr", "another port"},
		"output smaller than a message":    {with("LOGUX_MAX_MESSAGE", "2MiB"), "max-output", "LOGUX_MAX_MESSAGE"},
		"pre-auth smaller than the token":  {with("LOGUX_MAX_TOKEN", "1MiB"), "max-preauth", "LOGUX_MAX_TOKEN"},
		"Redis twice":                      {gossip("LOGUX_REDIS_FILE", f.text), "redis-file", "both set"},
		"file without a URL":               {with("LOGUX_REDIS_FILE", f.text), "redis-file", "is unusable"},
		"gossip without Redis":             {with("LOGUX_GOSSIP_ADDR", "127.0.0.1:1"), "gossip-addr", "without LOGUX_REDIS"},
		"join without gossip":              {with("LOGUX_REDIS", "redis://x", "LOGUX_JOIN", "x"), "join", "without LOGUX_GOSSIP_ADDR"},
		"join without port":                {gossip("LOGUX_GOSSIP_ADDR", "127.0.0.1:0", "LOGUX_JOIN", "a:1,b"), "join", "without a port"},
		"join with port 0":                 {gossip("LOGUX_JOIN", "a:0"), "join", "no host"},
		"join a URL":                       {gossip("LOGUX_JOIN", "http://a:1"), "join", "no host"},
		"join with spaces":                 {gossip("LOGUX_JOIN", "a b"), "join", "no host"},
		"join too many":                    {gossip("LOGUX_JOIN", strings.Repeat("a,", 65)), "join", "65 names"},
		"cluster without gossip":           {with("LOGUX_CLUSTER", "x"), "cluster", "without LOGUX_GOSSIP_ADDR"},
		"cluster with a bad name":          {gossip("LOGUX_CLUSTER", "a b"), "cluster", "letters"},
		"cluster with a long name":         {gossip("LOGUX_CLUSTER", strings.Repeat("x", 65)), "cluster", "letters"},
		"gossip without key":               {gossip("LOGUX_GOSSIP_ADDR", "0.0.0.0:7946"), "gossip-key", "openssl rand -base64 32"},
		"gossip key of 15 bytes":           {gossip("LOGUX_GOSSIP_KEY", "AAAAAAAAAAAAAAAAAAAA"), "gossip-key", "15 bytes"},
		"gossip key twice":                 {gossip("LOGUX_GOSSIP_KEY", "AAAAAAAAAAAAAAAAAAAAAA==", "LOGUX_GOSSIP_KEY_FILE", f.text), "gossip-key-file", "both set"},
		"gossip key file without key":      {gossip("LOGUX_GOSSIP_KEY_FILE", os.DevNull), "gossip-key-file", "is empty"},
		"gossip on all IPv6 addresses":     {gossip("LOGUX_GOSSIP_ADDR", "[::]:1", "LOGUX_GOSSIP_PLAIN", "true"), "gossip-addr", "LOGUX_GOSSIP_ADVERTISE"},
		"gossip on a name":                 {gossip("LOGUX_GOSSIP_ADDR", "node-1:1"), "gossip-addr", "no IP address"},
		"advertise everything":             {gossip("LOGUX_GOSSIP_ADVERTISE", "0.0.0.0:1"), "gossip-advertise", "cannot call"},
		"advertise a name":                 {gossip("LOGUX_GOSSIP_ADVERTISE", "node-1:1"), "gossip-advertise", "cannot call"},
		"advertise without any port":       {gossip("LOGUX_GOSSIP_ADDR", "127.0.0.1:0", "LOGUX_GOSSIP_ADVERTISE", "10.0.0.1"), "gossip-advertise", "cannot call"},
		"number without a unit as timeout": {with("LOGUX_TIMEOUT", "70000"), "timeout", "unit"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := load(c.env)
			checkSettingError(t, err, c.setting, c.part)
		})
	}
}

// LOGUX_ENV follows from the host; NODE_ENV makes it only stricter; defaults follow from it.
func TestEnvironment(t *testing.T) {
	for _, c := range []struct{ host, nodeEnv, env, want string }{
		{"127.0.0.1", "", "", development},
		{"127.9.9.9", "", "", development},
		{"localhost", "", "", development},
		{"::1", "", "", development},
		{"0.0.0.0", "", "", production},
		{"::", "", "", production},
		{"example.com", "", "", production},
		{"127.0.0.1", "production", "", production},
		{"127.0.0.1", "test", "", development},
		{"0.0.0.0", "development", "", production},
		{"127.0.0.1", "production", "development", development},
		{"127.0.0.1", "", "production", production},
	} {
		got := mustLoad(t, with("LOGUX_HOST", c.host, "NODE_ENV", c.nodeEnv, "LOGUX_ENV", c.env))
		if got.Env != c.want {
			t.Errorf("%+v: got %s", c, got.Env)
		}
	}
	inProduction := mustLoad(t, with("LOGUX_ENV", "production"))
	if inProduction.Logger != "json" || inProduction.BackendHold != time.Minute || inProduction.ConnectTimeout != 10*time.Second || inProduction.DrainTime != 25*time.Second {
		t.Errorf("defaults in production: %s %v %v %v", inProduction.Logger, inProduction.BackendHold, inProduction.ConnectTimeout, inProduction.DrainTime)
	}
	for _, given := range []*Config{
		mustLoad(t, with("LOGUX_BACKEND_HOLD", "7s", "LOGUX_LOGGER", "json")),
		mustLoad(t, enough, "--backend-hold=7s", "-l", "json"),
	} {
		if given.BackendHold != 7*time.Second || given.Logger != "json" {
			t.Errorf("the environment's default replaced a given value: %v %s", given.BackendHold, given.Logger)
		}
	}
}

// With Redis an action is safe before its outcome, so that it is acknowledged earlier.
func TestDefaultsOfACluster(t *testing.T) {
	const redis = "redis://127.0.0.1:6379"
	for _, c := range []struct {
		variables environment
		want      time.Duration
	}{
		{enough, 15 * time.Second},
		{with("LOGUX_REDIS", redis), 5 * time.Second},
		{with("LOGUX_REDIS", redis, "LOGUX_ACK_LIMIT", "8s"), 8 * time.Second},
	} {
		if got := mustLoad(t, c.variables); got.AckLimit != c.want {
			t.Errorf("%v: %v, want %v", c.variables, got.AckLimit, c.want)
		}
	}
}

// A flag wins over a variable, a variable over the .env file, that one over the default.
func TestPrecedence(t *testing.T) {
	dir := t.TempDir()
	writeFile(t, filepath.Join(dir, envFile), "LOGUX_PORT=1001\nLOGUX_ID=file\nLOGUX_MAX_QUEUE=5\nLOGUX_CONTROL_SECRET='pa$SWORD # x'\n# comment\nOTHER=1\n")
	env, err := readEnvironment([]string{"LOGUX_BACKEND=http://x", "LOGUX_PORT=1002", "LOGUX_ID=variable", "LOGUX_MAX_QUEUE="}, dir)
	if err != nil {
		t.Fatal(err)
	}
	c := mustLoad(t, env, "-p", "1003")
	if c.Port != 1003 || c.ID != "variable" || c.MaxQueue != 5 || c.ConnectRate != 5000 || c.Secrets()[0] != "pa$SWORD # x" {
		t.Errorf("port %d, id %s, queue %d, rate %d, secret %q", c.Port, c.ID, c.MaxQueue, c.ConnectRate, c.Secrets())
	}
	if short := mustLoad(t, enough, "-h", "localhost", "-p", "7", "-l", "json"); short.Host != "localhost" || short.Port != 7 || short.Logger != "json" {
		t.Errorf("short forms of @logux/server: %s %d %s", short.Host, short.Port, short.Logger)
	}
}

func TestEnvFileTrouble(t *testing.T) {
	dir := t.TempDir()
	if env, err := readEnvironment(nil, dir); err != nil || len(env) != 0 {
		t.Errorf("without a file: %v, %v", env, err)
	}
	writeFile(t, filepath.Join(dir, envFile), "LOGUX_PORT=1\nLOGUX_CONTROL_SECRET \"canary-3f9a\nLOGUX_ID=x\n")
	_, err := readEnvironment(nil, dir)
	if err == nil || !strings.Contains(err.Error(), ".env: line 2") || strings.Contains(err.Error(), "canary") || strings.Contains(err.Error(), "\n") {
		t.Errorf("unreadable line: %v", err)
	}
	dir = t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, envFile), 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := readEnvironment(nil, dir); err == nil || !strings.Contains(err.Error(), ".env: cannot be read") {
		t.Errorf("directory: %v", err)
	}
}

// A mistyped variable is named with its nearest neighbour; what Kubernetes puts there by itself is
// neither a warning nor a value.
func TestUnknownVariables(t *testing.T) {
	env, err := readEnvironment([]string{
		"LOGUX_BACKEND=http://x", "LOGUX_CONTROL_SECRET=0123456789abcdef",
		"LOGUX_BAKEND_HOLD=1s", "LOGUX_COLOUR=red", "OTHER_PORT=x",
		"LOGUX_PORT=tcp://10.0.0.1:31337", "LOGUX_PORT_31337_TCP_ADDR=10.0.0.1", "LOGUX_SERVICE_HOST=10.0.0.1",
		"LOGUX_PROXY_SERVICE_PORT_WS=31337", "LOGUX_PROXY_PORT=tcp://10.0.0.1:31337", "LOGUX_PROXY_PORT_31337_TCP=tcp://10.0.0.1:31337",
	}, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	c := mustLoad(t, env)
	want := []Warning{
		{"Nothing reads the variable LOGUX_BAKEND_HOLD", "Did you mean LOGUX_BACKEND_HOLD?"},
		{"Nothing reads the variable LOGUX_COLOUR", "Look for it in --help, or remove it."},
	}
	if diff := cmp.Diff(want, c.Warnings); diff != "" || c.Port != 31337 {
		t.Errorf("port %d, warnings:\n%s", c.Port, diff)
	}
}

func TestWarnings(t *testing.T) {
	for part, env := range map[string]environment{
		"public address": with("LOGUX_HOST", "0.0.0.0", "LOGUX_ENV", "development"),
		"short enough":   with("LOGUX_ENV", "production", "LOGUX_CONTROL_SECRET", "secret"),
		"admin listener": with("LOGUX_ENV", "production", "LOGUX_ADMIN_ADDR", "0.0.0.0:31338"),
		"ACK_LIMIT":      with("LOGUX_ACK_LIMIT", "30s"),
		"past Redis":     with("LOGUX_REDIS", "redis://x"),
	} {
		if c := mustLoad(t, env); len(c.Warnings) != 1 || !strings.Contains(c.Warnings[0].Message, part) || c.Warnings[0].Hint == "" {
			t.Errorf("want a warning about %s, got %v", part, c.Warnings)
		}
	}
	for _, args := range [][]string{
		{"--control-secret", "0123456789abcdef"}, {"--redis", "redis://:secret@x"}, {"--redis", "redis+sentinel://x/m?sentinel_password=secret"},
		{"--gossip-key", "AAAAAAAAAAAAAAAAAAAAAA=="},
	} {
		if c := mustLoad(t, gossip(), args...); len(c.Warnings) != 1 || !strings.Contains(c.Warnings[0].Message, "command line") || !strings.Contains(c.Warnings[0].Hint, envName(args[0][2:])+"_FILE") {
			t.Errorf("%s as a flag: %v", args[0], c.Warnings)
		}
	}
	if c := mustLoad(t, gossip(), "--redis", "redis://x"); len(c.Warnings) != 0 {
		t.Errorf("a URL without a password as a flag: %v", c.Warnings)
	}
	if c := mustLoad(t, with("LOGUX_HOST", "0.0.0.0")); len(c.Warnings) != 0 {
		t.Errorf("production without origins is fine, got %v", c.Warnings)
	}
}

// No message holds a secret, whatever is wrong beside it.
func TestSecretsStaySecret(t *testing.T) {
	const canary = "canary-77ab"
	f := newFiles(t)
	secretFile := filepath.Join(filepath.Dir(f.text), "secret")
	writeFile(t, secretFile, canary+"\n")
	var said []string
	say := func(c *Config, err error) {
		if err != nil {
			said = append(said, err.Error(), fmt.Sprintf("%+v", err))
			return
		}
		said = append(said, fmt.Sprint(c.ControlSecret), fmt.Sprintf("%v %+v %#v", *c, *c, *c), fmt.Sprint(c.Warnings))
	}
	say(load(with("LOGUX_CONTROL_SECRET", canary)))
	say(load(with("LOGUX_CONTROL_SECRET", "", "LOGUX_CONTROL_SECRET_FILE", secretFile)))
	say(load(with("LOGUX_CONTROL_SECRET", canary, "LOGUX_CONTROL_SECRET_FILE", secretFile)))
	say(load(with("LOGUX_CONTROL_SECRET", canary, "LOGUX_PORT", "x")))
	say(load(with("LOGUX_BACKEND", "http://user:"+canary+"@x:port/")))
	say(load(with("LOGUX_BACKEND", "ftp://user:"+canary+"@x/")))
	say(load(with("LOGUX_CONTROL_SECRET", ""), "--control-secret", "-"+canary))
	say(load(with("LOGUX_CONTROL_SECRET", ""), "--control-secret", "--"+canary))
	say(load(with("LOGUX_CONTROL_SECRET", ""), "--control-secret", "half", canary))
	say(load(enough, "--control-secert="+canary))
	say(load(enough, canary))
	urlFile, keyFile := filepath.Join(filepath.Dir(f.text), "url"), filepath.Join(filepath.Dir(f.text), "key")
	keys := []string{"", base64.StdEncoding.EncodeToString([]byte(canary + "1234")), base64.StdEncoding.EncodeToString([]byte(canary)), canary + "#"}
	for _, url := range []string{
		"redis://:" + canary + "@x", "redis://user:" + canary + "@x:port", "redis://:" + canary + "/" + canary + "@x", "redis://:" + canary + "?" + canary + "@x",
		"redis://u:x@y?" + canary + "@z/", "redis://:x#" + canary + "@z", "redis+sentinel://x/m?sentinel_password=" + canary, canary, "http://:" + canary + "@x",
	} {
		writeFile(t, urlFile, url)
		say(load(with("LOGUX_REDIS", url)))
		say(load(with("LOGUX_REDIS", url, "LOGUX_JOIN", "x")))
		say(load(enough, "--redis", url))
		say(load(with("LOGUX_REDIS_FILE", urlFile)))
		say(load(with("LOGUX_REDIS_FILE", urlFile, "LOGUX_REDIS", url)))
	}
	for _, key := range keys[1:] {
		writeFile(t, keyFile, key)
		say(load(gossip("LOGUX_GOSSIP_KEY", key)))
		say(load(gossip("LOGUX_GOSSIP_KEY_FILE", keyFile)))
		say(load(gossip(), "--gossip-key", key))
		say(load(with("LOGUX_GOSSIP_KEY", key)))
	}
	// As text and as the bytes that a key prints as by itself.
	keys[0] = strings.Trim(fmt.Sprintf("%d", []byte(canary)), "[]")
	if len(said) < 100 {
		t.Fatalf("only %d messages", len(said))
	}
	for _, text := range said {
		if slices.ContainsFunc(append(keys, canary), func(secret string) bool { return strings.Contains(text, secret) }) {
			t.Errorf("the secret is in %q", text)
		}
	}
}

// The file holds secrets one a line or with commas.
func TestSecretFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "secret")
	for text, want := range map[string][]string{
		"one\n": {"one"}, "one": {"one"}, "new\nold\n": {"new", "old"}, " new, old \r\n": {"new", "old"},
	} {
		writeFile(t, path, text)
		if c := mustLoad(t, with("LOGUX_CONTROL_SECRET", "", "LOGUX_CONTROL_SECRET_FILE", path)); !slices.Equal(c.Secrets(), want) {
			t.Errorf("%q is %q, want %q", text, c.Secrets(), want)
		}
	}
	writeFile(t, path, " \n")
	_, err := load(with("LOGUX_CONTROL_SECRET", "", "LOGUX_CONTROL_SECRET_FILE", path))
	checkSettingError(t, err, "control-secret-file", "is empty")
}

func TestRandomID(t *testing.T) {
	a, b := mustLoad(t, enough), mustLoad(t, enough)
	if len(a.ID) != 8 || a.ID == b.ID {
		t.Errorf("IDs %q and %q", a.ID, b.ID)
	}
}
