package backend

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"logux-proxy/backend/backendtest"
	"logux-proxy/wire"
)

// A deliverer remembers what it got.
type deliverer struct {
	fail error

	mu      sync.Mutex
	actions []*wire.Action
	targets []wire.Targets
	got     chan struct{}
}

func newDeliverer() *deliverer { return &deliverer{got: make(chan struct{}, 1000)} }

func (d *deliverer) Deliver(a *wire.Action, t *wire.Targets, _ *wire.Trace) error {
	if d.fail != nil {
		return d.fail
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.actions = append(d.actions, a)
	d.targets = append(d.targets, *t)
	d.got <- struct{}{}
	return nil
}

func (d *deliverer) count() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.actions)
}

func controlConfig(d Deliverer) ControlConfig {
	return ControlConfig{
		Secrets:   []string{testSecret, "the-old-one"},
		Mask:      []netip.Prefix{netip.MustParsePrefix("127.0.0.1/8")},
		Path:      "/",
		Deliverer: d,
	}
}

// call does not let an HTTP client correct the path.
func callControl(h http.Handler, method, path, body string) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	r := &http.Request{
		Method: method, URL: &url.URL{Path: path}, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(body)),
		ContentLength: int64(len(body)), RemoteAddr: "127.0.0.1:5000", Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
	}
	h.ServeHTTP(w, r)
	return w
}

const (
	incCommand  = `{"command":"action","action":{"type":"INC"},"meta":{"channels":["counter"]}}`
	controlHead = `{"version":4,"secret":"` + testSecret + `","commands":`
)

// The control table of PROTOCOL section 5: case, status, body.
func TestControlTable(t *testing.T) {
	for _, one := range []struct {
		about, method, path, body string
		status                    int
		want                      string
		actions                   int
	}{
		{"accepted", "POST", "/", controlHead + "[" + incCommand + "]}", 200, "", 1},
		{"accepted, several", "POST", "/", controlHead + "[" + incCommand + "," + incCommand + "]}", 200, "", 2},
		{"accepted, none", "POST", "/", controlHead + "[]}", 200, "", 0},
		{"commands given as one object", "POST", "/", controlHead + incCommand + "}", 200, "", 1},
		{"both keys of the secret", "POST", "/", strings.Replace(controlHead, "secret", "password", 1) + incCommand + "}", 200, "", 1},
		{"every secret is accepted", "POST", "/", `{"version":4,"secret":"the-old-one","commands":[` + incCommand + `]}`, 200, "", 1},
		{"version 2", "POST", "/", `{"version":2,"password":"` + testSecret + `","commands":[["action",{"type":"INC"},{"clients":["1:a"]}]]}`, 200, "", 1},
		{"version 3", "POST", "/", `{"version":3,"secret":"` + testSecret + `","commands":[["action",{"type":"INC"},{"clients":["1:a"]}]]}`, 200, "", 1},
		{"meta.time may come as a string", "POST", "/", controlHead + `[{"command":"action","action":{"type":"INC"},"meta":{"time":"1560954012838"}}]}`, 200, "", 1},
		{"not JSON", "POST", "/", "{", 400, "Wrong format", 0},
		{"empty", "POST", "/", "", 400, "Wrong format", 0},
		{"POST null", "POST", "/", "null", 400, "Wrong body", 0},
		{"an array", "POST", "/", "[]", 400, "Wrong body", 0},
		{"no secret", "POST", "/", `{"version":4,"commands":[]}`, 400, "Wrong body", 0},
		{"no version", "POST", "/", `{"secret":"x","commands":[]}`, 400, "Wrong body", 0},
		{"version is text", "POST", "/", `{"version":"4","secret":"x","commands":[]}`, 400, "Wrong body", 0},
		{"commands are text", "POST", "/", `{"version":4,"secret":"x","commands":"a"}`, 400, "Wrong body", 0},
		{"a command is null", "POST", "/", `{"version":4,"secret":"x","commands":[null]}`, 400, "Wrong body", 0},
		{"version not 2, 3 or 4", "POST", "/", `{"version":5,"secret":"x","commands":[]}`, 400, "Back-end protocol version is not supported", 0},
		{"version not 2, 3 or 4", "POST", "/", `{"version":1,"secret":"x","commands":[]}`, 400, "Back-end protocol version is not supported", 0},
		{"wrong command", "POST", "/", controlHead + `[{"command":"auth"}]}`, 400, "Wrong command", 0},
		{"no type", "POST", "/", controlHead + `[{"command":"action","action":{},"meta":{}}]}`, 400, "Wrong command", 0},
		{"nothing of the request is applied", "POST", "/", controlHead + "[" + incCommand + `,{"command":"x"}]}`, 400, "Wrong command", 0},
		{"wrong secret", "POST", "/", `{"version":4,"secret":"x","commands":[]}`, 403, "Wrong secret", 0},
		{"empty secret", "POST", "/", `{"version":4,"secret":"","commands":[]}`, 403, "Wrong secret", 0},
		{"the secret comes before the commands", "POST", "/", `{"version":4,"secret":"x","commands":[{"command":"x"}]}`, 403, "Wrong secret", 0},
		{"known path, other method", "PUT", "/", "", 405, "Wrong method", 0},
		{"known path, other method", "POST", "/health", "", 405, "Wrong method", 0},
		{"known path, other method", "DELETE", "/health", "", 405, "Wrong method", 0},
		{"unknown path", "POST", "/logux", controlHead + "[]}", 404, "Wrong path", 0},
		{"unknown path", "GET", "//", "", 404, "Wrong path", 0},
		{"unknown path", "GET", "/a?%", "", 404, "Wrong path", 0},
		{"unknown path", "POST", "", "", 404, "Wrong path", 0},
		{"unknown path", "GET", "/debug/pprof/", "", 404, "Wrong path", 0},
	} {
		d := newDeliverer()
		w := callControl(NewControl(controlConfig(d)), one.method, one.path, one.body)
		if w.Code != one.status || w.Body.String() != one.want {
			t.Errorf("%s: %d %q, want %d %q", one.about, w.Code, w.Body, one.status, one.want)
		}
		if d.count() != one.actions {
			t.Errorf("%s: %d actions", one.about, d.count())
		}
		if got := w.Header().Get("Content-Length"); got != fmt.Sprint(len(one.want)) {
			t.Errorf("%s: Content-Length %q", one.about, got)
		}
	}
}

func TestControlDelivers(t *testing.T) {
	d := newDeliverer()
	w := callControl(NewControl(controlConfig(d)), "POST", "/", controlHead+`[{"command":"action","action":{"type":"a", "x":1},
		"meta":{"id":"1 38:Y7bysd:O0ETfc 0","time":5,"channel":"c","users":["1",2],"excludeClients":["9:z"]}},
		{"command":"action","action":{"type":"b"},"meta":{}}]}`)
	if w.Code != 200 || d.count() != 2 {
		t.Fatalf("%d %s, %d actions", w.Code, w.Body, d.count())
	}
	a, to := d.actions[0], d.targets[0]
	if a.ID != "1 38:Y7bysd:O0ETfc 0" || a.Time != 5 || a.Type != "a" || string(a.Body) != `{"type":"a", "x":1}` {
		t.Errorf("%+v", a)
	}
	if fmt.Sprint(to.Channels, to.Users, to.ExcludeClients) != "[c] [1 2] [9:z]" {
		t.Errorf("%+v", to)
	}
	if b := d.actions[1]; b.ID != "" || b.Time != 0 || b.Type != "b" {
		t.Errorf("order or defaults: %+v", b)
	}
}

func TestControlMask(t *testing.T) {
	body := controlHead + "[" + incCommand + "]}"
	for _, one := range []struct {
		mask, addr string
		ok         bool
	}{
		{"127.0.0.1/8", "127.9.9.9", true},
		{"127.0.0.1/8", "::ffff:127.0.0.1", true},
		{"127.0.0.1/8", "10.0.0.1", false},
		{"127.0.0.1/8", "::1", false},
		{"::1/128", "::1", true},
		{"fe80::/10", "fe80::1%eth0", true},
		{"10.0.0.0/8", "127.0.0.1", false},
	} {
		d := newDeliverer()
		cfg := controlConfig(d)
		cfg.Mask = []netip.Prefix{netip.MustParsePrefix(one.mask)}
		cfg.Addr = func(*http.Request) netip.Addr { return netip.MustParseAddr(one.addr) }
		// The mask comes before the body is read.
		for _, text := range []string{body, "{"} {
			w := callControl(NewControl(cfg), "POST", "/", text)
			refused := w.Code == 403 && w.Body.String() == "IP address is not in LOGUX_CONTROL_MASK/controlMask"
			if refused == one.ok {
				t.Errorf("%s for %s: %d %s", one.addr, one.mask, w.Code, w.Body)
			}
		}
		if (d.count() == 1) != one.ok {
			t.Errorf("%s for %s: %d actions", one.addr, one.mask, d.count())
		}
	}
	cfg := controlConfig(newDeliverer())
	cfg.Mask = nil
	if w := callControl(NewControl(cfg), "POST", "/", body); w.Code != 403 {
		t.Errorf("an empty mask lets everybody in: %d", w.Code)
	}
}

// "too many wrong secrets from this address | 429", the right one included; "One count for both sides".
func TestControlAttempts(t *testing.T) {
	clock := &manualClock{time.Unix(1e9, 0)}
	cfg := controlConfig(newDeliverer())
	cfg.Attempts = NewAttempts(clock.read)
	h := NewControl(cfg)
	wrong := `{"version":4,"secret":"x","commands":[]}`
	cfg.Attempts.Failed(netip.MustParseAddr("127.0.0.1")) // the WebSocket side saw one
	for range 2 {
		if w := callControl(h, "POST", "/", wrong); w.Code != 403 {
			t.Errorf("%d %s", w.Code, w.Body)
		}
	}
	for _, body := range []string{wrong, controlHead + "[]}"} {
		if w := callControl(h, "POST", "/", body); w.Code != 429 || w.Body.String() != "Too many wrong secret attempts" {
			t.Errorf("%d %s", w.Code, w.Body)
		}
	}
	// JSON, body and version come before the attempts.
	if w := callControl(h, "POST", "/", "{"); w.Code != 400 {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	if w := callControl(h, "GET", "/health", ""); w.Code != 200 {
		t.Errorf("health answers %d to a blocked address", w.Code)
	}
	clock.now = clock.now.Add(3 * time.Second)
	if w := callControl(h, "POST", "/", controlHead+"[]}"); w.Code != 200 {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

func TestControlPath(t *testing.T) {
	body := controlHead + "[" + incCommand + "]}"
	for _, one := range []struct {
		set, method, path string
		status            int
	}{
		{"/control", "POST", "/control", 200},
		{"/control", "GET", "/control", 405},
		{"/control", "POST", "/control/", 404},
		{"/control", "POST", "/", 405},
		{"/control", "GET", "/", 200},
		{"", "POST", "/", 200},
		{"", "POST", "/anything/else", 200},
		{"", "POST", "/health", 405},
		{"", "GET", "/anything/else", 404},
		{"", "PUT", "/anything/else", 404},
	} {
		cfg := controlConfig(newDeliverer())
		cfg.Path = one.set
		if w := callControl(NewControl(cfg), one.method, one.path, body); w.Code != one.status {
			t.Errorf("path %q: %s %s gives %d, want %d", one.set, one.method, one.path, w.Code, one.status)
		}
	}
	cfg := controlConfig(nil)
	cfg.Deliverer = nil // on a port of its own
	if w := callControl(NewControl(cfg), "POST", "/", body); w.Code != 405 {
		t.Errorf("without a deliverer: %d %s", w.Code, w.Body)
	}
}

func TestControlBodyLimit(t *testing.T) {
	d := newDeliverer()
	cfg := controlConfig(d)
	cfg.MaxBody = 1000
	h := NewControl(cfg)
	head := controlHead + `[{"command":"action","action":{"type":"INC","x":"`
	tail := `"},"meta":{}}]}`
	fill := strings.Repeat("x", 1000-len(head)-len(tail))
	if w := callControl(h, "POST", "/", head+fill+tail); w.Code != 200 {
		t.Errorf("at the limit: %d %s", w.Code, w.Body)
	}
	if w := callControl(h, "POST", "/", head+fill+"x"+tail); w.Code != 413 {
		t.Errorf("over the limit: %d %s", w.Code, w.Body)
	}
	url := serve(t, h)
	// Without a length the body is read up to the limit only.
	res, err := http.Post(url, "", io.MultiReader(strings.NewReader(head), strings.NewReader(fill+fill), strings.NewReader(tail)))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	if res.StatusCode != 413 {
		t.Errorf("chunked over the limit: %d", res.StatusCode)
	}
	if d.count() != 1 {
		t.Errorf("%d actions", d.count())
	}
	http.DefaultClient.CloseIdleConnections()
}

func TestControlNotDelivered(t *testing.T) {
	d := newDeliverer()
	d.fail = errors.New("the bus is away")
	w := callControl(NewControl(controlConfig(d)), "POST", "/", controlHead+"["+incCommand+"]}")
	if w.Code != 500 || strings.Contains(w.Body.String(), "bus") {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

// "GET / a short page saying what this is; GET /health 200."
func TestPages(t *testing.T) {
	url := serve(t, NewControl(controlConfig(newDeliverer())))
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	for _, one := range []struct{ method, path, kind, contains string }{
		{"GET", "/", "text/html", "Logux"},
		{"HEAD", "/", "text/html", ""},
		{"GET", "/health", "text/plain", "OK"},
		{"HEAD", "/health", "text/plain", ""},
	} {
		req, err := http.NewRequest(one.method, url+one.path, nil)
		if err != nil {
			t.Fatal(err)
		}
		res, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(res.Body)
		_ = res.Body.Close()
		if err != nil || res.StatusCode != 200 || !strings.HasPrefix(res.Header.Get("Content-Type"), one.kind) || !bytes.Contains(body, []byte(one.contains)) {
			t.Errorf("%s %s: %d %s %q %v", one.method, one.path, res.StatusCode, res.Header, body, err)
		}
		if res.ContentLength <= 0 {
			t.Errorf("%s %s: no length", one.method, one.path)
		}
	}
}

// logux-php gives up after 5 ms: what it sent is taken, once.
func TestControlCallerGone(t *testing.T) {
	d := newDeliverer()
	slow := make(chan struct{})
	h := NewControl(controlConfig(deliverFunc(func(a *wire.Action, to *wire.Targets) error {
		<-slow
		return d.Deliver(a, to, nil)
	})))
	u, err := url.Parse(serve(t, h))
	if err != nil {
		t.Fatal(err)
	}
	body := controlHead + "[" + incCommand + "," + incCommand + "]}"
	conn, err := net.Dial("tcp", u.Host)
	if err != nil {
		t.Fatal(err)
	}
	_, _ = fmt.Fprintf(conn, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
	_ = conn.Close()
	close(slow)
	<-d.got
	<-d.got
}

type deliverFunc func(*wire.Action, *wire.Targets) error

func (f deliverFunc) Deliver(a *wire.Action, t *wire.Targets, _ *wire.Trace) error { return f(a, t) }

// Loading data calls the control API from inside an open request: no limit or lock may be shared between the two.
func TestControlFromInsideARequest(t *testing.T) {
	d := newDeliverer()
	control := serve(t, NewControl(controlConfig(d)))
	for version := 2; version <= 4; version++ {
		b, url := newBackend(t)
		b.SetProxy(control)
		b.Handle("channel:counter", func(x *backendtest.Exchange) {
			x.Approved()
			caller := b.Control()
			caller.Version = version
			caller.HTTP = &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
			err := caller.Send(x.Ctx, backendtest.Action{
				Action: []byte(`{"type":"INC","value":1}`),
				Meta:   backendtest.Meta{Targets: backendtest.Targets{Clients: []string{x.Client()}}},
			})
			if err != nil {
				x.Error(err.Error())
				return
			}
			x.Processed()
		})
		c := newTestClient(t, url, func(cfg *Config) { cfg.Concurrency, cfg.Version = 1, version })
		for n := range 20 {
			subscribe(c, n).want(t, "approved | processed")
		}
	}
	if d.count() != 60 {
		t.Errorf("%d actions", d.count())
	}
}

func FuzzControl(f *testing.F) {
	f.Add(controlHead + "[" + incCommand + "]}")
	f.Add("null")
	f.Add(`{"version":2,"password":"x","commands":[["action",{"type":"a"},{}]]}`)
	f.Fuzz(func(t *testing.T, body string) {
		d := newDeliverer()
		w := callControl(NewControl(controlConfig(d)), "POST", "/", body)
		switch w.Code {
		case 200:
			if w.Body.Len() != 0 {
				t.Errorf("a body with 200: %q", w.Body)
			}
		case 400, 403:
			if d.count() != 0 {
				t.Errorf("%d actions with %d", d.count(), w.Code)
			}
		default:
			t.Errorf("%d %q", w.Code, w.Body)
		}
	})
}

func BenchmarkControl(b *testing.B) {
	h := NewControl(controlConfig(deliverFunc(func(*wire.Action, *wire.Targets) error { return nil })))
	body := controlHead + "[" + incCommand + "]}"
	b.ReportAllocs()
	for b.Loop() {
		callControl(h, "POST", "/", body)
	}
}
