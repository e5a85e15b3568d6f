package e2e

import (
	"net/http/httptest"
	"testing"

	"logux-proxy/backend/backendtest"
)

// The cases that the Logux project examines back-end libraries with, played through the proxy. They compare what arrives as text, key order included.
func TestBackendTestSuite(t *testing.T) {
	t.Parallel()
	app := backendtest.New(backendtest.Options{Secret: secret})
	srv := httptest.NewServer(app)
	t.Cleanup(srv.Close)
	p := startProxy(t, srv.URL, nil)
	type line struct{ Title, Error string }
	lines := runNode[line](t, "backend-test.js", "ws://"+p.addr+"/", srv.URL, secret)
	if len(lines) != 20 {
		t.Errorf("%d cases were played, want 20", len(lines))
	}
	for _, l := range lines {
		if l.Error != "" {
			t.Errorf("%s: %s", l.Title, l.Error)
		}
	}
}
