package backend

import (
	"errors"
	"io"
	"strings"
	"time"
	"unicode/utf8"

	"go.uber.org/zap"
)

const (
	excerptBytes = 256  // of a response, in a log line
	detailBytes  = 1000 // of an error's details, in a log line
)

// A stream is a response's body. It remembers how it began, for the log, tells an error of the connection
// from one in the content, and lets a response that stalls be ended.
type stream struct {
	body io.Reader
	err  error // other than io.EOF

	idle  *time.Timer // nil: the commands' own time ends a stall
	every time.Duration

	head [2 * excerptBytes]byte
	n    int
}

func (s *stream) Read(p []byte) (int, error) {
	n, err := s.body.Read(p)
	if n > 0 {
		if s.n < len(s.head) {
			s.n += copy(s.head[s.n:], p[:n])
		}
		if s.idle != nil {
			s.idle.Reset(s.every)
		}
	}
	if err != nil && err != io.EOF {
		s.err = err
	}
	return n, err
}

func (s *stream) excerpt() []byte { return s.head[:s.n] }

func (c *Client) logStatus(r *request, f *failure, body []byte) {
	fields := []zap.Field{zap.Int("status", f.status), zap.Int("commands", len(r.calls)), zap.String("body", c.redact(r, body))}
	if f.kind == KindRefused {
		c.log.Error("The back-end does not accept our secret (403). Set the same one on both sides. "+
			"Until then one request a second is tried, since back-ends lock a caller out that has a wrong secret", fields...)
		return
	}
	c.log.Warn("The back-end answered with a failure", append(fields, zap.Error(f.err))...)
}

func (c *Client) logMalformed(r *request, f *failure, body []byte) {
	c.log.Warn("The back-end's response is unreadable",
		zap.Error(f.err), zap.Int("commands", len(r.calls)), zap.String("body", c.redact(r, body)))
}

// logDetails writes what went wrong in the back-end by its own account, often a stack trace. No client sees it
// but in development.
func (c *Client) logDetails(r *request, id, details string) {
	if len(details) > 4*detailBytes {
		details = details[:4*detailBytes]
	}
	c.log.Error("The back-end reported an error",
		zap.String("id", cut(id, excerptBytes)), zap.String("details", cut(c.withoutSecrets(r, details), detailBytes)))
}

// redact returns a short piece of a response for the log.
func (c *Client) redact(r *request, body []byte) string {
	return cut(c.withoutSecrets(r, string(body)), excerptBytes)
}

// printable returns err, or its text made fit for a log: net/http quotes the first line of what is no HTTP.
func (c *Client) printable(r *request, err error) error {
	text := err.Error()
	if short := cut(c.withoutSecrets(r, text), excerptBytes); short != text {
		return errors.New(short)
	}
	return err
}

// withoutSecrets takes everything secret in r out of s, since error pages and stack traces quote the request.
func (c *Client) withoutSecrets(r *request, s string) string {
	for _, secret := range c.cfg.Secrets {
		s = hide(s, secret)
	}
	for _, k := range r.calls {
		if k.auth == nil {
			continue
		}
		s = hide(s, k.auth.Token)
		for _, value := range k.auth.Cookies {
			s = hide(s, value)
		}
	}
	return s
}

// hide takes secret out of s, which may have been cut in the middle of it.
func hide(s, secret string) string {
	if secret == "" {
		return s
	}
	s = strings.ReplaceAll(s, secret, "***")
	for n := min(len(secret)-1, len(s)); n > 0; n-- {
		if strings.HasSuffix(s, secret[:n]) {
			return s[:len(s)-n]
		}
	}
	return s
}

// cut shortens s to at most n bytes of valid UTF-8.
func cut(s string, n int) string {
	if len(s) <= n {
		return strings.ToValidUTF8(s, "?")
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return strings.ToValidUTF8(s[:n], "?") + "…"
}
