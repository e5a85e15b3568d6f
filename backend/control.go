package backend

import (
	"crypto/sha256"
	"crypto/subtle"
	"io"
	"net/http"
	"net/netip"
	"strconv"
	"time"

	"go.uber.org/zap"

	"logux-proxy/wire"
)

// A Deliverer takes the actions that the back-end sends of its own accord. *gateway.Gateway is one.
type Deliverer interface {
	// Deliver routes a to the receivers that t names. The action's ID, when it is "", and its Time, when 0, are made here. It returns when every
	// local receiver's loop and the bus have it. of is the step of a trace that this is a part of, nil for none.
	Deliver(a *wire.Action, t *wire.Targets, of *wire.Trace) error
}

// AttemptsCount counts wrong secrets by address. *Attempts is one.
type AttemptsCount interface {
	Blocked(ip netip.Addr) bool
	Failed(ip netip.Addr)
}

// ControlConfig says who may call the control API.
type ControlConfig struct {
	Secrets []string
	Mask    []netip.Prefix // empty: nobody
	Path    string         // of POST; "" means any path but those of the pages
	MaxBody int64          // bytes [10 MiB]; more gets 413
	// MaxDepth of the JSON [64].
	MaxDepth int
	// Attempts is shared with the WebSocket side; nil counts for itself.
	Attempts AttemptsCount
	// Deliverer gets the actions; nil leaves only the pages, where the control API has a port of its own.
	Deliverer Deliverer
	// Addr finds the caller's address: the socket's peer, or what a trusted proxy says. nil means the socket's peer.
	Addr func(r *http.Request) netip.Addr
	// AuditRefused leaves accepted requests out of the log: it names those that were refused or failed.
	AuditRefused bool
	Tracer       Tracer      // nil traces nothing
	Log          *zap.Logger // nil logs nothing
}

// Bodies that the control table of PROTOCOL section 5 fixes, beside those of wire.ControlFault.
const (
	bodyWrongPath    = "Wrong path"
	bodyWrongMethod  = "Wrong method"
	bodyWrongMask    = "IP address is not in LOGUX_CONTROL_MASK/controlMask"
	bodyWrongSecret  = "Wrong secret"
	bodyManyAttempts = "Too many wrong secret attempts"
	bodyTooLarge     = "Body is too large"
	bodyNotDelivered = "Not delivered"
)

const (
	controlMaxBody  = 10 << 20
	controlMaxDepth = 64
)

// control shares no lock and no limit with Client: a back-end may call from inside a request that it still has open.
type control struct {
	cfg     ControlConfig
	secrets [][sha256.Size]byte
	refusal *zap.Logger // sampled: anybody can be refused
}

// NewControl returns the handler of everything on the public port that is no WebSocket: the
// control API, GET / and GET /health (PROTOCOL section 5, the control table). It keeps nothing per request and
// has no time limits of its own: those are the http.Server's.
func NewControl(c ControlConfig) http.Handler {
	if c.MaxBody == 0 {
		c.MaxBody = controlMaxBody
	}
	if c.MaxDepth == 0 {
		c.MaxDepth = controlMaxDepth
	}
	if c.Attempts == nil {
		c.Attempts = NewAttempts(nil)
	}
	if c.Addr == nil {
		c.Addr = peerAddr
	}
	if c.Log == nil {
		c.Log = zap.NewNop()
	}
	h := &control{cfg: c, refusal: sampled(c.Log)}
	for _, secret := range c.Secrets {
		if secret != "" {
			h.secrets = append(h.secrets, sha256.Sum256([]byte(secret)))
		}
	}
	return h
}

// ServeHTTP answers in the order of the table: path and method, mask, JSON, body, version, attempts, secret, commands.
func (h *control) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	path := r.URL.Path
	page := pages[path]
	get := r.Method == http.MethodGet || r.Method == http.MethodHead
	switch {
	case page.body != "" && get:
		page.write(w, r)
	case h.isControl(path) && r.Method == http.MethodPost:
		h.post(w, r)
	case page.body != "" || h.cfg.Path != "" && path == h.cfg.Path:
		refuse(w, http.StatusMethodNotAllowed, bodyWrongMethod)
	default:
		refuse(w, http.StatusNotFound, bodyWrongPath)
	}
}

// isControl reports whether path is the control API's.
func (h *control) isControl(path string) bool {
	switch {
	case h.cfg.Deliverer == nil:
		return false
	case h.cfg.Path == "":
		return path != healthPath
	default:
		return path == h.cfg.Path
	}
}

func (h *control) post(w http.ResponseWriter, r *http.Request) {
	c := controlCall{came: time.Now(), addr: h.cfg.Addr(r).Unmap().WithZone("")}
	status, body := h.take(&c, r)
	if c.trace != nil {
		c.trace.End(status)
	}
	h.audit(&c, status, body)
	if status != http.StatusOK {
		refuse(w, status, body)
		return
	}
	// Empty, because logux-php prints our body into its own response.
	w.Header().Set("Content-Length", "0")
	w.WriteHeader(http.StatusOK)
}

// A controlCall is one control request under way. Its goroutine owns it.
type controlCall struct {
	came    time.Time
	addr    netip.Addr
	actions []wire.ControlAction // once it was let in
	failed  int                  // which of them, when err is set
	err     error                // why it was not delivered
	trace   ControlTrace         // nil when it is not followed
}

// take does what the request asks for and returns the status and the body of the answer.
func (h *control) take(c *controlCall, r *http.Request) (status int, body string) {
	if !h.allowed(c.addr) {
		return http.StatusForbidden, bodyWrongMask
	}
	text, status, body := h.read(r)
	if status != http.StatusOK {
		return status, body
	}
	req, fault := wire.DecodeControl(text, h.cfg.MaxDepth)
	if fault != wire.ControlOK && fault != wire.ControlWrongCommand {
		return http.StatusBadRequest, string(fault)
	}
	if h.cfg.Attempts.Blocked(c.addr) {
		return http.StatusTooManyRequests, bodyManyAttempts
	}
	if !h.known(req.Secret) {
		h.cfg.Attempts.Failed(c.addr)
		return http.StatusForbidden, bodyWrongSecret
	}
	if fault != wire.ControlOK {
		return http.StatusBadRequest, string(fault)
	}
	c.actions = req.Actions
	of := h.follow(c, r)
	// The caller may have gone already (logux-php leaves after 5 ms); what it sent is taken all the same.
	for i := range c.actions {
		a := &c.actions[i]
		if c.err = h.cfg.Deliverer.Deliver(a.Action, &a.Targets, of); c.err != nil {
			c.failed = i
			return http.StatusInternalServerError, bodyNotDelivered
		}
	}
	return http.StatusOK, ""
}

// follow begins the trace of c, if it is to be followed, and returns what its actions are a part of.
func (h *control) follow(c *controlCall, r *http.Request) *wire.Trace {
	if h.cfg.Tracer == nil {
		return nil
	}
	start := ControlStart{Came: c.came, Addr: c.addr, Commands: len(c.actions)}
	if headers := r.Header[wire.Traceparent]; len(headers) == 1 { // of two nobody knows which one is meant
		start.Traceparent = headers[0]
	}
	if c.trace = h.cfg.Tracer.Control(start); c.trace == nil {
		return nil
	}
	return c.trace.Trace()
}

func (h *control) allowed(addr netip.Addr) bool {
	for _, prefix := range h.cfg.Mask {
		if prefix.Contains(addr) {
			return true
		}
	}
	return false
}

// read returns the whole body, or how to answer. A body is only read for a caller inside the mask.
func (h *control) read(r *http.Request) (text []byte, status int, body string) {
	if r.ContentLength > h.cfg.MaxBody {
		return nil, http.StatusRequestEntityTooLarge, bodyTooLarge
	}
	text, err := io.ReadAll(io.LimitReader(r.Body, h.cfg.MaxBody+1))
	if err != nil {
		return nil, http.StatusBadRequest, string(wire.ControlWrongFormat) // broken off: nobody reads this
	}
	if int64(len(text)) > h.cfg.MaxBody {
		return nil, http.StatusRequestEntityTooLarge, bodyTooLarge
	}
	return text, http.StatusOK, ""
}

// known compares with every secret and in constant time, so that time tells neither length nor content.
func (h *control) known(secret string) bool {
	sum := sha256.Sum256([]byte(secret))
	found := 0
	for i := range h.secrets {
		found |= subtle.ConstantTimeCompare(sum[:], h.secrets[i][:])
	}
	return found == 1
}

func refuse(w http.ResponseWriter, status int, body string) {
	header := w.Header()
	header.Set("Content-Type", "text/plain; charset=utf-8")
	header.Set("X-Content-Type-Options", "nosniff")
	header.Set("Content-Length", strconv.Itoa(len(body)))
	if status == http.StatusRequestEntityTooLarge {
		header.Set("Connection", "close") // the rest of the body is not read
	}
	w.WriteHeader(status)
	_, _ = io.WriteString(w, body)
}

// peerAddr is the address of the socket's peer.
func peerAddr(r *http.Request) netip.Addr {
	addr, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return netip.Addr{}
	}
	return addr.Addr()
}
