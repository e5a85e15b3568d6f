package backend

import (
	"crypto/sha256"
	"crypto/subtle"
	"io"
	"net/http"
	"net/netip"
	"strconv"

	"go.uber.org/zap"

	"logux-proxy/wire"
)

// A Deliverer takes the actions that the back-end sends of its own accord. *gateway.Gateway is one.
type Deliverer interface {
	// Deliver routes a to the receivers that t names. The action's ID, when it is "", and its Time, when 0, are made here. It returns when every
	// local receiver's loop and the bus have it.
	Deliver(a *wire.Action, t *wire.Targets) error
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
	Log  *zap.Logger // nil logs nothing
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
	c.Log = sampled(c.Log)
	h := &control{cfg: c}
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
	addr := h.cfg.Addr(r).Unmap().WithZone("")
	if !h.allowed(addr) {
		h.cfg.Log.Warn("A control request came from outside LOGUX_CONTROL_MASK", zap.Stringer("address", addr))
		refuse(w, http.StatusForbidden, bodyWrongMask)
		return
	}
	body, ok := h.read(w, r)
	if !ok {
		return
	}
	req, fault := wire.DecodeControl(body, h.cfg.MaxDepth)
	if fault != wire.ControlOK && fault != wire.ControlWrongCommand {
		refuse(w, http.StatusBadRequest, string(fault))
		return
	}
	if h.cfg.Attempts.Blocked(addr) {
		refuse(w, http.StatusTooManyRequests, bodyManyAttempts)
		return
	}
	if !h.known(req.Secret) {
		h.cfg.Attempts.Failed(addr)
		h.cfg.Log.Warn("A control request had a wrong secret", zap.Stringer("address", addr))
		refuse(w, http.StatusForbidden, bodyWrongSecret)
		return
	}
	if fault != wire.ControlOK {
		refuse(w, http.StatusBadRequest, string(fault))
		return
	}
	// The caller may have gone already (logux-php leaves after 5 ms); what it sent is taken all the same.
	for i := range req.Actions {
		a := &req.Actions[i]
		if err := h.cfg.Deliverer.Deliver(a.Action, &a.Targets); err != nil {
			h.cfg.Log.Error("An action of the back-end was not delivered",
				zap.String("id", cut(string(a.Action.ID), excerptBytes)), zap.String("type", cut(a.Action.Type, excerptBytes)), zap.Error(err))
			refuse(w, http.StatusInternalServerError, bodyNotDelivered)
			return
		}
	}
	// Empty, because logux-php prints our body into its own response.
	w.Header().Set("Content-Length", "0")
	w.WriteHeader(http.StatusOK)
}

func (h *control) allowed(addr netip.Addr) bool {
	for _, prefix := range h.cfg.Mask {
		if prefix.Contains(addr) {
			return true
		}
	}
	return false
}

// read returns the whole body, or answers and returns false. A body is only read for a caller inside the mask.
func (h *control) read(w http.ResponseWriter, r *http.Request) ([]byte, bool) {
	if r.ContentLength > h.cfg.MaxBody {
		refuse(w, http.StatusRequestEntityTooLarge, bodyTooLarge)
		return nil, false
	}
	body, err := io.ReadAll(io.LimitReader(r.Body, h.cfg.MaxBody+1))
	if err != nil {
		refuse(w, http.StatusBadRequest, string(wire.ControlWrongFormat)) // broken off: nobody reads this
		return nil, false
	}
	if int64(len(body)) > h.cfg.MaxBody {
		refuse(w, http.StatusRequestEntityTooLarge, bodyTooLarge)
		return nil, false
	}
	return body, true
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
