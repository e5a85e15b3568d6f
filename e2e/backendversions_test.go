package e2e

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	cryptorand "crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/gobwas/ws"

	"logux-proxy/backend/backendtest"
)

// "In versions 2 and 3 the back-end delivers a subscription's data by a separate POST to the proxy before it answers processed"; version 2 gets the secret as
// password too. The newest and the oldest client, with the sample application of the Logux project.
func TestBackendVersions(t *testing.T) {
	t.Parallel()
	for _, version := range []string{"2", "3", "4"} {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			app := backendtest.New(backendtest.Options{Secret: secret})
			srv := httptest.NewServer(app)
			t.Cleanup(srv.Close)
			p := startProxy(t, srv.URL, settings{"LOGUX_BACKEND_VERSION": version, "LOGUX_BACKEND_SUBPROTOCOL": "semver"})
			app.SetProxy("http://" + p.addr + "/")
			for i, client := range []string{clientVersions[0], clientVersions[len(clientVersions)-1]} {
				user := fmt.Sprint(10 + i)
				d := startDriver(t, client)
				c := d.connect(t, p.addr, user, options{token: user + ":good"})
				name := func(value string) string {
					return fmt.Sprintf(`{"payload":{"name":%q,"userId":%q},"type":"users/name"}`, value, user)
				}
				c.mustSync(t, name("first"))
				c.mustSync(t, fmt.Sprintf(`{"type":"logux/subscribe","channel":"users/%s"}`, user))
				c.awaitEvent(t, "the state of the channel", 2, added(name("first")))
				if got := app.Name(user); got != "first" {
					t.Errorf("the name is %q, want first", got)
				}
				for action, reason := range map[string]string{
					`{"type":"nobody knows"}`:                                   "unknownType",
					`{"type":"logux/subscribe","channel":"nowhere"}`:            "wrongChannel",
					`{"type":"error"}`:                                          "error",
					`{"payload":{"name":"x","userId":"1"},"type":"users/name"}`: "denied",
				} {
					if r := c.sync(t, action)(); r.Rejected == nil || r.Rejected.Action.Reason != reason {
						t.Errorf("%s: %s became %+v, want %s", client, action, r, reason)
					}
				}
				bad := d.open(t, newLine(t, p.addr).addr, user, options{token: "bad"})
				bad.awaitEvent(t, "the error wrong-credentials", 1, failed("wrong-credentials"))
			}
			if errs := app.Errors(); len(errs) != 0 {
				t.Errorf("the back-end's own calls failed: %v", errs)
			}
			if v := app.Requests()[0].Version; fmt.Sprint(v) != version {
				t.Errorf("the back-end was asked in version %d", v)
			}
			if has := bytes.Contains(app.Requests()[0].Body, []byte(`"password"`)); has != (version == "2") {
				t.Errorf("the secret as password: %v in version %s", has, version)
			}
		})
	}
}

// "A setting makes the proxy send 10 as "10.0.0" to the back-end and turn the back-end's "10.2.0" into 10 for protocol 5 clients."
func TestSemverForNumbers(t *testing.T) {
	t.Parallel()
	b := newBackend(t)
	p := startProxy(t, b.url, settings{"LOGUX_BACKEND_SUBPROTOCOL": "semver"})
	b.onAuth("38", func(x *backendtest.Exchange) { x.Authenticated([]byte(`"10.2.0"`)) })
	b.onAuth("39", func(x *backendtest.Exchange) { x.WrongSubprotocol("^11.0.0") })
	c := connect(t, p.addr, "38:semver:tab", dialOptions{protocol: 5, subprotocol: `10`})
	if got := c.of("connected")[0].raw; !strings.HasSuffix(got, `,{"subprotocol":10}]`) {
		t.Errorf("connected is %s, want subprotocol 10", got)
	}
	c.do(t, `{"type":"INC","counter":"counter/semver"}`)
	for _, cmd := range b.Commands() {
		if !bytes.Contains(cmd.Raw, []byte(`"subprotocol":"10.0.0"`)) {
			t.Errorf("the back-end got %s, want subprotocol 10.0.0", cmd.Raw)
		}
	}
	old := connect(t, p.addr, "38:semver4:tab", dialOptions{subprotocol: `"10.1.0"`})
	if got := old.of("connected")[0].raw; !strings.HasSuffix(got, `,{"subprotocol":"10.2.0"}]`) {
		t.Errorf("connected of protocol 4 is %s, want subprotocol 10.2.0", got)
	}
	denied := open(t, p.addr, "39:semver:tab", dialOptions{})
	denied.send(t, connectMessage("39:semver:tab", dialOptions{protocol: 5, subprotocol: `10`}))
	denied.awaitClosed(t)
	if errs := denied.of("error"); len(errs) != 1 || !strings.Contains(errs[0].raw, `"used":10`) {
		t.Errorf("a wrong subprotocol: %s", denied.story())
	}
}

// The subprotocols that the proxy lets in by itself, before the back-end is asked.
func TestSupportedSubprotocols(t *testing.T) {
	t.Parallel()
	b := newBackend(t)
	for i, row := range []struct {
		setting, value string
		o              dialOptions
		allowed        bool
	}{
		{"LOGUX_SUPPORTS", "^2.1.0", dialOptions{subprotocol: `"2.1.5"`}, true},
		{"LOGUX_SUPPORTS", "^2.1.0", dialOptions{subprotocol: `"2.0.9"`}, false},
		{"LOGUX_SUPPORTS", "^2.1.0", dialOptions{subprotocol: `"3.0.0"`}, false},
		{"LOGUX_SUPPORTS", "^2.1.0", dialOptions{}, false}, // 0.0.0
		{"LOGUX_SUPPORTS", "2.x || >=5", dialOptions{protocol: 5, subprotocol: `5`}, true},
		{"LOGUX_SUPPORTS", "2.x || >=5", dialOptions{protocol: 5, subprotocol: `4`}, false},
		{"LOGUX_MIN_SUBPROTOCOL", "5", dialOptions{protocol: 5, subprotocol: `5`}, true},
		{"LOGUX_MIN_SUBPROTOCOL", "5", dialOptions{protocol: 5, subprotocol: `4`}, false},
	} {
		p := startProxy(t, b.url, settings{row.setting: row.value})
		user := fmt.Sprintf("sup%d", i)
		c := open(t, p.addr, user+":c:t", dialOptions{})
		c.send(t, connectMessage(user+":c:t", row.o))
		if row.allowed {
			c.awaitMessage(t, "connected", 1)
			continue
		}
		c.awaitClosed(t)
		if errs := c.of("error"); len(errs) != 1 || !strings.HasPrefix(errs[0].raw, `["error","wrong-subprotocol"`) {
			t.Errorf("%s=%s, subprotocol %s: %s, want wrong-subprotocol", row.setting, row.value, row.o.subprotocol, c.story())
		}
		if n := len(b.seen(authOf(user))); n != 0 {
			t.Errorf("%s=%s, subprotocol %s: the back-end was asked", row.setting, row.value, row.o.subprotocol)
		}
	}
}

// Two secrets are valid at once during rotation: the first is sent, both are accepted.
func TestSecretRotation(t *testing.T) {
	t.Parallel()
	b := newBackend(t)
	p := startProxy(t, b.url, settings{"LOGUX_CONTROL_SECRET": secret + ",the-old-one"})
	connect(t, p.addr, "38:rotate:tab", dialOptions{})
	for value, want := range map[string]int{secret: 200, "the-old-one": 200, secret + ",the-old-one": 403, "": 403} {
		if status, _ := p.control(t, fmt.Sprintf(`{"version":4,"secret":%q,"commands":[]}`, value)); status != want {
			t.Errorf("secret %q was answered with %d, want %d", value, status, want)
		}
	}
}

// The control API on a listener of its own is not on the public one, and the mask keeps strangers out.
func TestControlListenerAndMask(t *testing.T) {
	t.Parallel()
	b := newBackend(t)
	control := fmt.Sprintf("127.0.0.1:%d", freePort(t))
	p := startProxy(t, b.url, settings{"LOGUX_CONTROL_ADDR": control, "LOGUX_CONTROL_MASK": "127.77.0.0/16,127.0.0.1"})
	c := connect(t, p.addr, "38:control:tab", dialOptions{})
	if status, _ := p.control(t, controlBody(`{"type":"PUBLIC"}`, `{"users":["38"]}`)); status != http.StatusNotFound && status != http.StatusMethodNotAllowed {
		t.Errorf("the public listener answered a control call with %d, want 404 or 405", status)
	}
	callFrom := func(from net.IP) (int, string) {
		t.Helper()
		client := http.Client{Transport: &http.Transport{DialContext: (&net.Dialer{LocalAddr: &net.TCPAddr{IP: from}}).DialContext}}
		res, err := client.Post("http://"+control+"/", "application/json", strings.NewReader(controlBody(`{"type":"PRIVATE"}`, `{"users":["38"]}`)))
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = res.Body.Close() }()
		var body bytes.Buffer
		_, _ = body.ReadFrom(res.Body)
		return res.StatusCode, body.String()
	}
	if status, body := callFrom(net.IPv4(127, 78, 0, 1)); status != http.StatusForbidden || body != "IP address is not in LOGUX_CONTROL_MASK/controlMask" {
		t.Errorf("a stranger was answered with %d %q, want 403", status, body)
	}
	for _, from := range []net.IP{net.IPv4(127, 77, 0, 9), net.IPv4(127, 0, 0, 1)} {
		if status, body := callFrom(from); status != http.StatusOK || body != "" {
			t.Errorf("%v was answered with %d %q, want 200", from, status, body)
		}
	}
	c.settleBy(t, control)
	if got := len(c.having("PRIVATE")); got != 2 {
		t.Errorf("%d actions came, want 2", got)
	}
	if got := len(c.having("PUBLIC")); got != 0 {
		t.Errorf("%d actions came by the public listener", got)
	}
}

// Behind an ingress the client's own address counts, not the ingress's, and nobody else is believed.
func TestClientAddressBehindATrustedProxy(t *testing.T) {
	t.Parallel()
	b := newBackend(t)
	p := startProxy(t, b.url, settings{"LOGUX_TRUSTED_PROXIES": "127.55.0.1"})
	try := func(from net.IP, forwarded, token string) string {
		t.Helper()
		o := dialOptions{from: from, token: token, header: http.Header{"X-Forwarded-For": {forwarded}}}
		c := open(t, p.addr, "38:behind:tab", o)
		c.send(t, connectMessage("38:behind:tab", o))
		answered := func() bool { return len(c.of("error"))+len(c.of("connected")) > 0 }
		if !c.awaitFor(patience, answered) {
			t.Fatalf("no answer; %s", c.story())
		}
		if errs := c.of("error"); len(errs) > 0 {
			return errs[0].raw
		}
		return "connected"
	}
	ingress, stranger := net.IPv4(127, 55, 0, 1), net.IPv4(127, 55, 0, 2)
	for range 3 {
		try(ingress, "203.0.113.7", "bad")
		try(stranger, fmt.Sprintf("203.0.113.%d", 100), "bad")
	}
	for _, row := range []struct {
		from      net.IP
		forwarded string
		want      string
	}{
		{ingress, "203.0.113.7", `["error","bruteforce"]`},          // that client
		{ingress, "1.2.3.4, 203.0.113.7", `["error","bruteforce"]`}, // who forges the list's head
		{ingress, "203.0.113.8", "connected"},                       // another one behind the same ingress
		{stranger, "203.0.113.9", `["error","bruteforce"]`},         // whatever it says, it is its own address
		{net.IPv4(127, 55, 0, 3), "203.0.113.7", "connected"},       // who is not believed is not blamed
	} {
		if got := try(row.from, row.forwarded, "good"); got != row.want {
			t.Errorf("from %v for %s: %s, want %s", row.from, row.forwarded, got, row.want)
		}
	}
}

// TLS on both sides: wss for clients with a certificate that is reloaded, https to the back-end with a CA of its own and a client certificate.
func TestTLS(t *testing.T) {
	t.Parallel()
	b := newBackend(t)
	ca := newAuthority(t)
	srv := httptest.NewUnstartedServer(b)
	srv.TLS = &tls.Config{Certificates: []tls.Certificate{ca.issue(t, "back-end")}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: ca.pool}
	srv.StartTLS()
	t.Cleanup(srv.Close)
	mine := ca.issue(t, "proxy")
	cert, key := ca.files(t, ca.issue(t, "first"))
	clientCert, clientKey := ca.files(t, mine)
	p := launch(t, srv.URL, settings{
		"LOGUX_CERT": cert, "LOGUX_KEY": key,
		"LOGUX_BACKEND_CA": writeFile(t, "ca.pem", ca.pem), "LOGUX_BACKEND_CERT": clientCert, "LOGUX_BACKEND_KEY": clientKey,
	})
	t.Cleanup(func() { p.stop(t) })
	p.log.await(t, "the proxy listens", func() bool { return strings.Contains(p.log.String(), "listening") })
	dial := func() (*tls.Conn, error) {
		return tls.Dial("tcp", p.addr, &tls.Config{RootCAs: ca.pool, ServerName: "localhost"})
	}
	conn, err := dial()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	buffered, _, err := ws.Dialer{}.Upgrade(conn, &url.URL{Scheme: "wss", Host: "localhost", Path: "/"})
	if err != nil {
		t.Fatal(err)
	}
	if buffered != nil {
		t.Fatal("the server spoke first")
	}
	if err := ws.WriteFrame(conn, ws.MaskFrame(ws.NewTextFrame([]byte(connectMessage("38:tls:tab", dialOptions{}))))); err != nil {
		t.Fatal(err)
	}
	for got := ""; !strings.Contains(got, "connected"); {
		frame, err := ws.ReadFrame(conn) //nolint:staticcheck // the peer is our own
		if err != nil {
			t.Fatalf("after %q: %v", got, err)
		}
		got += string(frame.Payload)
	}
	// A renewed certificate is taken without a restart.
	second, secondKey := ca.files(t, ca.issue(t, "second"))
	copyFile(t, secondKey, key)
	copyFile(t, second, cert)
	awaitPolling(t, "the renewed certificate", func() bool {
		c, err := dial()
		if err != nil {
			return false
		}
		defer func() { _ = c.Close() }()
		return c.ConnectionState().PeerCertificates[0].Subject.CommonName == "second"
	})
}

// An authority issues certificates for localhost and 127.0.0.1.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pool *x509.CertPool
	pem  string
	n    int64
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	a := &authority{pool: x509.NewCertPool()}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "authority"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), KeyUsage: x509.KeyUsageCertSign,
	}
	var err error
	if a.key, err = ecdsa.GenerateKey(elliptic.P256(), cryptorand.Reader); err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateCertificate(cryptorand.Reader, template, template, &a.key.PublicKey, a.key)
	if err != nil {
		t.Fatal(err)
	}
	if a.cert, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	a.pool.AddCert(a.cert)
	a.pem = string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	return a
}

func (a *authority) issue(t *testing.T, name string) tls.Certificate {
	t.Helper()
	a.n++
	key, err := ecdsa.GenerateKey(elliptic.P256(), cryptorand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateCertificate(cryptorand.Reader, &x509.Certificate{
		SerialNumber: big.NewInt(1 + a.n), Subject: pkix.Name{CommonName: name}, DNSNames: []string{"localhost"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}, a.cert, &key.PublicKey, a.key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

func (a *authority) files(t *testing.T, c tls.Certificate) (cert, key string) {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(c.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	return writeFile(t, "cert.pem", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Certificate[0]}))),
		writeFile(t, "key.pem", string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})))
}

// copyFile replaces the contents of to.
func copyFile(t *testing.T, from, to string) {
	t.Helper()
	text, err := os.ReadFile(from)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(to, text, 0o600); err != nil {
		t.Fatal(err)
	}
}
