package main

import (
	"crypto/tls"
	"os"
	"sync"
	"time"

	"go.uber.org/zap"
)

// certificateAge is how long a certificate is used before its files are looked at again.
const certificateAge = 10 * time.Second

// A certificate is the listener's key pair, read again when its files change. A pair that cannot
// be read leaves the one before in use.
type certificate struct {
	certFile, keyFile string
	log               *zap.Logger
	now               func() time.Time

	mu      sync.Mutex
	pair    *tls.Certificate
	files   [2]fileState
	checked time.Time
}

// A fileState tells one version of a file from the next.
type fileState struct {
	modified time.Time
	size     int64
}

// newCertificate reads the pair of c's settings.
func newCertificate(c *Config, log *zap.Logger, now func() time.Time) (*certificate, error) {
	cert := &certificate{certFile: c.Cert, keyFile: c.Key, log: log, now: now, checked: now()}
	cert.files = cert.state()
	var err error
	cert.pair, err = loadKeyPair("cert", c.Cert, "key", c.Key)
	return cert, err
}

// serverTLS is the listener's TLS, or nil without a key.
func serverTLS(c *Config, log *zap.Logger) (*tls.Config, error) {
	if c.Key == "" {
		return nil, nil
	}
	cert, err := newCertificate(c, log, time.Now)
	if err != nil {
		return nil, err
	}
	return &tls.Config{
		MinVersion:     tls.VersionTLS12,
		GetCertificate: cert.get,
		NextProtos:     []string{"http/1.1"},
	}, nil
}

// get implements tls.Config.GetCertificate.
func (c *certificate) get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if now := c.now(); now.Sub(c.checked) >= certificateAge {
		c.checked = now
		c.reloadLocked()
	}
	return c.pair, nil
}

func (c *certificate) reloadLocked() {
	files := c.state()
	if files == c.files {
		return
	}
	pair, err := loadKeyPair("cert", c.certFile, "key", c.keyFile)
	if err != nil {
		// Half of a new pair is there: the other half changes the state once more.
		c.log.Error("The new TLS certificate is unusable; the one before stays", zap.Error(err))
		c.files = files
		return
	}
	c.files, c.pair = files, pair
	c.log.Info("The TLS certificate was read again", zap.Time("validUntil", pair.Leaf.NotAfter))
}

// state is that of the certificate's and the key's file; a missing file has the zero state.
func (c *certificate) state() (files [2]fileState) {
	for i, path := range []string{c.certFile, c.keyFile} {
		files[i] = stateOf(path)
	}
	return files
}

func stateOf(path string) fileState {
	info, err := os.Stat(path)
	if err != nil {
		return fileState{}
	}
	return fileState{info.ModTime(), info.Size()}
}
