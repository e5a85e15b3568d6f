package backend

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net/url"
	"time"

	"go.uber.org/zap"

	"logux-proxy/wire"
)

// Retry says which commands may be sent again after a failure that may hide a processed one.
type Retry uint8

const (
	// RetrySafe sends again what cannot have been acted on, and auth and subscriptions.
	RetrySafe Retry = iota
	// RetryAll sends every command again: the back-end recognises a repeated meta.id.
	RetryAll
)

// Config says how the back-end is reached. The zero value of a number means its default.
type Config struct {
	URL     *url.URL // http or https
	Version int      // of the back-end protocol: 2, 3 or 4 [4]
	// Secrets are tried in order when a caller is checked; the first is sent.
	Secrets []string
	// SemverSubprotocol turns numbers into SemVer for the back-end and back (PROTOCOL section 5).
	SemverSubprotocol bool

	Concurrency int // requests in flight [64]
	Batch       int // commands per request [50]; 1 turns batching off
	BatchBytes  int // bytes per request that get no further command [1 MiB]
	// Hold is how long a command waits for a back-end that is away, counted from its first attempt
	// [60 s]; negative: not at all, and nothing is ever sent twice.
	Hold time.Duration
	// Timeout is one command's time once it is sent [60 s]. Waiting for a free request takes at most
	// twice that, or Hold if it is longer.
	Timeout          time.Duration
	ConnectTimeout   time.Duration // [5 s]
	FirstByteTimeout time.Duration // from the request's end to the response's first byte [= Timeout]
	IdleTimeout      time.Duration // between two bytes of a response [= Timeout]
	ResponseBytes    int64         // of one response [64 MiB]
	ElementBytes     int64         // of one answer [10 MiB]
	Retry            Retry
	TLS              *tls.Config // own CA and client certificate; nil for the system's

	// Observe, when set, is told of every request that ended, by many goroutines at once; it must not block.
	Observe func(r RequestInfo)
	Tracer  Tracer      // nil traces nothing
	Log     *zap.Logger // nil logs nothing
}

// RequestInfo says how one request to the back-end went.
type RequestInfo struct {
	Commands  int
	Status    int           // 0 when there was no response
	Err       error         // nil when the response was whole and its status 200-299
	Kind      Kind          // of Err
	FirstByte time.Duration // from sending to the response's head
	Total     time.Duration
}

// withDefaults returns c with every zero replaced.
func (c Config) withDefaults() Config {
	orInt(&c.Version, wire.MaxBackendVersion)
	orInt(&c.Concurrency, 64)
	orInt(&c.Batch, 50)
	orInt(&c.BatchBytes, 1<<20)
	orInt(&c.Hold, time.Minute)
	orInt(&c.Timeout, time.Minute)
	orInt(&c.ConnectTimeout, 5*time.Second)
	orInt(&c.FirstByteTimeout, c.Timeout)
	orInt(&c.IdleTimeout, c.Timeout)
	orInt(&c.ResponseBytes, 64<<20)
	orInt(&c.ElementBytes, 10<<20)
	if c.Log == nil {
		c.Log = zap.NewNop()
	}
	return c
}

func orInt[T int | int64 | time.Duration](v *T, def T) {
	if *v == 0 {
		*v = def
	}
}

// validate checks what withDefaults left.
func (c Config) validate() error {
	switch {
	case c.URL == nil:
		return errors.New("backend: no URL")
	case c.URL.Scheme != "http" && c.URL.Scheme != "https":
		return fmt.Errorf("backend: the URL's scheme is %q, not http or https", c.URL.Scheme)
	case c.URL.Hostname() == "":
		return errors.New("backend: the URL has no host")
	case c.Version < wire.MinBackendVersion || c.Version > wire.MaxBackendVersion:
		return fmt.Errorf("backend: protocol version %d is not spoken, only %d to %d", c.Version, wire.MinBackendVersion, wire.MaxBackendVersion)
	case len(c.Secrets) == 0 || c.Secrets[0] == "":
		return errors.New("backend: no secret")
	case c.Concurrency < 0 || c.Batch < 0 || c.BatchBytes < 0 || c.ResponseBytes < 0 || c.ElementBytes < 0:
		return errors.New("backend: a limit is negative")
	case c.Timeout < 0 || c.ConnectTimeout < 0 || c.FirstByteTimeout < 0 || c.IdleTimeout < 0:
		return errors.New("backend: a time-out is negative")
	case c.Retry > RetryAll:
		return fmt.Errorf("backend: unknown retry rule %d", c.Retry)
	}
	return nil
}
