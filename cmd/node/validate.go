package main

import (
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/Masterminds/semver/v3"
	"github.com/alecthomas/kong"
)

// complete finds the environment, sets the defaults that depend on it, and checks the settings
// against each other and against the files that they name.
func (c *Config) complete(ctx *kong.Context, env environment) error {
	c.Env = c.environmentOr(env["NODE_ENV"])
	if err := applyDefaults(ctx, c.Env); err != nil {
		return err
	}
	if c.ID == "" {
		c.ID = rand.Text()[:8]
	}
	for _, check := range []func() error{
		c.checkListeners, c.checkServerTLS, c.checkOrigins, c.checkBackend, c.checkSecret, c.checkClients, c.checkLimits, c.checkCluster,
	} {
		if err := check(); err != nil {
			return err
		}
	}
	if err := c.checkTrace(env); err != nil {
		return err
	}
	if c.Redis != nil { // which may have been read from a file just now
		if err := applyDefaults(ctx, clustered); err != nil {
			return err
		}
	}
	c.Warnings = append(env.unknownVariables(settingNames(ctx.Model)), c.warnings(ctx)...)
	return nil
}

// environmentOr is LOGUX_ENV or what follows from NODE_ENV and the host. NODE_ENV can only make
// things stricter: a forgotten NODE_ENV=development must not open a public port to any origin.
func (c *Config) environmentOr(nodeEnv string) string {
	switch {
	case c.Env != "":
		return c.Env
	case nodeEnv != production && loopbackName(c.Host):
		return development
	}
	return production
}

// loopbackName reports whether only programs of this machine reach host.
func loopbackName(host string) bool {
	address, err := netip.ParseAddr(host)
	return err == nil && address.IsLoopback() || strings.EqualFold(host, "localhost")
}

var nodeName = regexp.MustCompile(`^[A-Za-z0-9_.-]{1,64}$`)

func (c *Config) checkListeners() error {
	if !nodeName.MatchString(c.ID) {
		return &settingError{Setting: "id", Wrong: "is " + quote(c.ID), Mend: "use at most 64 letters, digits, and -_. characters"}
	}
	if strings.ContainsAny(c.Host, "[]/ ") || c.Host == "" || strings.Contains(c.Host, ":") && !isAddress(c.Host) {
		return &settingError{Setting: "host", Wrong: "is " + quote(c.Host), Mend: "use an address such as 0.0.0.0 or ::1, without port or brackets"}
	}
	taken := map[string]string{c.listenAddr(): "LOGUX_HOST and LOGUX_PORT"}
	for _, l := range []struct{ setting, addr string }{{"control-addr", c.ControlAddr}, {"admin-addr", c.adminAddr()}, {"gossip-addr", c.gossipAddr()}} {
		if l.addr == "" {
			continue
		}
		if err := checkHostPort(l.setting, l.addr); err != nil {
			return err
		}
		if other, clash := taken[l.addr]; clash && !strings.HasSuffix(l.addr, ":0") {
			return &settingError{Setting: l.setting, Wrong: "is " + quote(l.addr) + ", the address of " + other, Mend: "use another port"}
		}
		taken[l.addr] = envName(l.setting)
	}
	if c.ControlPath != "" && !strings.HasPrefix(c.ControlPath, "/") {
		return &settingError{Setting: "control-path", Wrong: "is " + quote(c.ControlPath), Mend: "begin it with /"}
	}
	return nil
}

func isAddress(host string) bool {
	_, err := netip.ParseAddr(host)
	return err == nil
}

// listenAddr is host:port of the WebSocket listener.
func (c *Config) listenAddr() string { return net.JoinHostPort(c.Host, strconv.Itoa(c.Port)) }

// adminAddr is host:port of the admin listener, or "" for none.
func (c *Config) adminAddr() string {
	if strings.EqualFold(c.AdminAddr, "off") {
		return ""
	}
	return c.AdminAddr
}

func checkHostPort(setting, addr string) error {
	host, port, err := net.SplitHostPort(addr)
	if err == nil && host != "" {
		if _, err = strconv.ParseUint(port, 10, 16); err == nil {
			return nil
		}
	}
	mend := "write it as 127.0.0.1:31338"
	switch setting {
	case "admin-addr":
		mend += " or off"
	case "gossip-addr":
		mend = "write it as 0.0.0.0:7946 or off"
	}
	return &settingError{Setting: setting, Wrong: "is " + quote(addr) + ", which is not host:port", Mend: mend}
}

func (c *Config) checkServerTLS() error {
	switch {
	case c.Key == "" && c.Cert == "":
		return nil
	case c.Key == "":
		return &settingError{Setting: "cert", Wrong: "is set without LOGUX_KEY", Mend: "set both or none"}
	case c.Cert == "":
		return &settingError{Setting: "key", Wrong: "is set without LOGUX_CERT", Mend: "set both or none"}
	}
	_, err := loadKeyPair("cert", c.Cert, "key", c.Key)
	return err
}

// loadKeyPair reads a certificate chain and its key; the settings are named in errors.
func loadKeyPair(certSetting, certFile, keySetting, keyFile string) (*tls.Certificate, error) {
	cert, err := readFile(certSetting, certFile)
	if err != nil {
		return nil, err
	}
	key, err := readFile(keySetting, keyFile)
	if err != nil {
		return nil, err
	}
	if block, _ := pem.Decode(cert); block == nil {
		return nil, &settingError{Setting: certSetting, Wrong: "names the file " + quote(certFile) + ", which holds no certificate", Mend: "use a PEM file that begins with -----BEGIN CERTIFICATE-----"}
	}
	if block, _ := pem.Decode(key); block == nil {
		return nil, &settingError{Setting: keySetting, Wrong: "names the file " + quote(keyFile) + ", which holds no private key", Mend: "use a PEM file that begins with -----BEGIN PRIVATE KEY-----"}
	}
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		return nil, &settingError{
			Setting: certSetting,
			Wrong:   "and " + envName(keySetting) + " do not go together: " + strings.TrimPrefix(err.Error(), "tls: "),
			Mend:    "use the certificate and the private key that belong to each other",
		}
	}
	return &pair, nil
}

// maxFile is how many bytes a file that a setting names may have.
const maxFile = 1 << 20

// readFile reads a file that a setting names.
func readFile(setting, path string) ([]byte, error) {
	text, err := readAtMost(path, maxFile)
	if err != nil {
		return nil, &settingError{Setting: setting, Wrong: "names the file " + quote(path) + ", which cannot be read: " + reason(err), Mend: "mend the path or the file's permissions"}
	}
	return text, nil
}

func readAtMost(path string, most int64) (text []byte, err error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	if text, err = io.ReadAll(io.LimitReader(file, most+1)); int64(len(text)) > most {
		return nil, fmt.Errorf("it has more than %d bytes", most)
	}
	return text, err
}

func (c *Config) checkOrigins() error {
	for _, text := range c.Origins {
		if _, err := parseOrigin(text); err != nil {
			return err
		}
	}
	return nil
}

func (c *Config) checkBackend() error {
	if c.Backend == nil {
		return &settingError{Setting: "backend", Wrong: "is not set", Mend: "set it to the URL of your back-end, such as http://127.0.0.1:3000/logux"}
	}
	for _, file := range []struct{ setting, path string }{{"backend-ca", c.BackendCA}, {"backend-cert", c.BackendCert}, {"backend-key", c.BackendKey}} {
		if file.path != "" && c.Backend.Scheme != "https" {
			return &settingError{Setting: file.setting, Wrong: "is set, but LOGUX_BACKEND is not https://", Mend: "use an https:// URL or remove it"}
		}
	}
	switch {
	case c.BackendCert != "" && c.BackendKey == "":
		return &settingError{Setting: "backend-cert", Wrong: "is set without LOGUX_BACKEND_KEY", Mend: "set both or none"}
	case c.BackendCert == "" && c.BackendKey != "":
		return &settingError{Setting: "backend-key", Wrong: "is set without LOGUX_BACKEND_CERT", Mend: "set both or none"}
	}
	_, err := c.backendTLS()
	return err
}

// backendTLS is how an https:// back-end is spoken to; nil means the system's way.
func (c *Config) backendTLS() (*tls.Config, error) {
	if c.BackendCA == "" && c.BackendCert == "" {
		return nil, nil
	}
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if c.BackendCA != "" {
		text, err := readFile("backend-ca", c.BackendCA)
		if err != nil {
			return nil, err
		}
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(text) {
			return nil, &settingError{Setting: "backend-ca", Wrong: "names the file " + quote(c.BackendCA) + ", which holds no certificate", Mend: "use a PEM file that begins with -----BEGIN CERTIFICATE-----"}
		}
	}
	if c.BackendCert != "" {
		pair, err := loadKeyPair("backend-cert", c.BackendCert, "backend-key", c.BackendKey)
		if err != nil {
			return nil, err
		}
		config.Certificates = []tls.Certificate{*pair}
	}
	return config, nil
}

const makeSecret = "make one with: openssl rand -hex 16"

// checkSecret reads the secret's file into ControlSecret.
func (c *Config) checkSecret() error {
	if c.ControlSecretFile != "" {
		if len(c.ControlSecret) > 0 {
			return &settingError{Setting: "control-secret-file", Wrong: "and LOGUX_CONTROL_SECRET are both set", Mend: "keep one of them"}
		}
		text, err := readFile("control-secret-file", c.ControlSecretFile)
		if err != nil {
			return err
		}
		if c.ControlSecret, err = parseSecrets(strings.Join(strings.Fields(string(text)), ","), nil); err != nil {
			return err
		}
		if len(c.ControlSecret) == 0 {
			return &settingError{Setting: "control-secret-file", Wrong: "names the file " + quote(c.ControlSecretFile) + ", which is empty", Mend: makeSecret}
		}
	}
	if len(c.ControlSecret) == 0 {
		return &settingError{Setting: "control-secret", Wrong: "is not set", Mend: "set it to the secret that your back-end knows too; " + makeSecret}
	}
	return nil
}

func (c *Config) checkClients() error {
	if c.Ping >= c.Timeout {
		return &settingError{Setting: "ping", Wrong: fmt.Sprintf("is %v and LOGUX_TIMEOUT %v", c.Ping, c.Timeout), Mend: "let LOGUX_PING be the shorter"}
	}
	if c.Supports != "" {
		if _, err := semver.NewConstraint(c.Supports); err != nil {
			return &settingError{Setting: "supports", Wrong: "is " + quote(c.Supports) + ", which is no range of versions", Mend: "use an npm range such as ^2.1.0 or 1.x || 2.x"}
		}
	}
	if c.Subprotocol != "" {
		_, versionErr := semver.StrictNewVersion(c.Subprotocol)
		if _, err := strconv.ParseUint(c.Subprotocol, 10, 31); err != nil && versionErr != nil {
			return &settingError{Setting: "subprotocol", Wrong: "is " + quote(c.Subprotocol), Mend: "use a version such as 2.1.0 or a number such as 10"}
		}
	}
	return nil
}

func (c *Config) checkLimits() error {
	if c.MaxOutput < c.MaxMessage {
		return &settingError{Setting: "max-output", Wrong: fmt.Sprintf("is %d bytes, less than the %d of LOGUX_MAX_MESSAGE", c.MaxOutput, c.MaxMessage), Mend: "let it hold at least one message"}
	}
	if c.MaxPreauth < c.MaxToken {
		return &settingError{Setting: "max-preauth", Wrong: fmt.Sprintf("is %d bytes, less than the %d of LOGUX_MAX_TOKEN", c.MaxPreauth, c.MaxToken), Mend: "a token is sent before a client is let in: let it be the larger"}
	}
	return nil
}

// warnings are for settings that work but are probably not what was meant.
func (c *Config) warnings(ctx *kong.Context) []Warning {
	var list []Warning
	warn := func(message, hint string) { list = append(list, Warning{message, hint}) }
	if c.Env == development && !loopbackName(c.Host) {
		warn("Development mode on a public address", "Any web site may connect, and errors are told to clients. Set LOGUX_ENV=production.")
	}
	if c.Env == production {
		for _, s := range c.ControlSecret {
			if len(s) < 16 {
				warn("LOGUX_CONTROL_SECRET is short enough to be guessed", "Use at least 16 characters; "+makeSecret+".")
				break
			}
		}
	}
	for _, path := range ctx.Path {
		if path.Flag == nil || path.Resolved {
			continue
		}
		switch name := path.Flag.Name; {
		case name == "control-secret", name == "gossip-key", name == "redis" && c.Redis.HasPassword():
			warn("A secret is on the command line, where every user of this machine can read it", "Use the variable "+envName(name)+" or "+envName(name+"-file")+".")
		}
	}
	if c.Redis != nil && c.gossipAddr() == "" {
		warn("The nodes do not talk to each other past Redis",
			"While Redis is away actions reach no client of another node and are lost; a dead node's acknowledged actions are not taken over; wrong credentials count on each node alone. Set LOGUX_GOSSIP_ADDR and LOGUX_JOIN.")
	}
	if host, _, err := net.SplitHostPort(c.adminAddr()); err == nil && c.Env == production && !loopbackName(host) {
		warn("The admin listener is not on a loopback address", "Let nobody but your monitoring reach LOGUX_ADMIN_ADDR.")
	}
	if c.AckLimit > 20*time.Second {
		warn("LOGUX_ACK_LIMIT is above 20s", "Old clients close a connection on which an acknowledgement takes longer.")
	}
	return list
}
