package main

import (
	"strconv"
	"time"

	"github.com/Masterminds/semver/v3"
	"go.uber.org/zap"

	"logux-proxy/backend"
	"logux-proxy/gateway"
	"logux-proxy/gateway/session"
	"logux-proxy/gateway/transport"
	"logux-proxy/wire"
)

// transportConfig is what the settings say to the transport. NewHandler and Fallback are missing.
func transportConfig(c *Config, log *zap.Logger) (transport.Config, error) {
	tls, err := serverTLS(c, log)
	if err != nil {
		return transport.Config{}, err
	}
	checkOrigin, err := originCheck(c)
	if err != nil {
		return transport.Config{}, err
	}
	return transport.Config{
		Addr:           c.listenAddr(),
		TLS:            tls,
		Loops:          c.Loops,
		CheckOrigin:    loggedOrigins(checkOrigin, log),
		TrustedProxies: c.TrustedProxies,
		Compression:    c.Compression,
		Limits: transport.Limits{
			Connections: connectionLimit(c.MaxConnections),
			ConnectRate: c.ConnectRate,
			Message:     int(c.MaxMessage),
			Output:      int(c.MaxOutput),
		},
		Log: log,
	}, nil
}

// gatewayConfig is what the settings say to the gateway. Backend, Bus and Attempts are missing.
func gatewayConfig(c *Config, m *metrics, log *zap.Logger) (gateway.Config, error) {
	var versions *semver.Constraints
	if c.Supports != "" {
		var err error
		if versions, err = semver.NewConstraint(c.Supports); err != nil {
			return gateway.Config{}, err
		}
	}
	return gateway.Config{
		Session: session.Config{
			Server:         wire.NodeID("server:" + c.ID),
			Development:    c.Development(),
			Ping:           c.Ping,
			Timeout:        c.Timeout,
			ConnectTimeout: c.ConnectTimeout,
			AckLimit:       c.AckLimit,
			MaxPreAuth:     int(c.MaxPreauth),
			MaxHeaders:     int(c.MaxHeaders),
			MaxToken:       int(c.MaxToken),
			Subprotocol:    rawSubprotocol(c.Subprotocol),
			Supports:       supports(versions, c.Supports, c.MinSubprotocol),
		},
		MaxQueue:         c.MaxQueue,
		MaxSubscriptions: c.MaxSubscriptions,
		MaxOutput:        int(c.MaxOutput),
		ActionRate:       c.ActionRate,
		MaxDepth:         c.MaxDepth,
		ActionDone:       m.actionDone,
		AuthDone:         m.authDone,
		Log:              log,
	}, nil
}

// backendConfig is what the settings say to the back-end's client.
func backendConfig(c *Config, m *metrics, log *zap.Logger) (backend.Config, error) {
	tls, err := c.backendTLS()
	if err != nil {
		return backend.Config{}, err
	}
	retry := backend.RetrySafe
	if c.BackendRetry == "all" {
		retry = backend.RetryAll
	}
	return backend.Config{
		URL:               c.Backend,
		Version:           c.BackendVersion,
		Secrets:           c.Secrets(),
		SemverSubprotocol: c.BackendSubprotocol == "semver",
		Concurrency:       c.BackendConcurrency,
		Batch:             c.BackendBatch,
		Hold:              orNever(c.BackendHold),
		Timeout:           c.BackendTimeout,
		ConnectTimeout:    c.BackendConnectTimeout,
		Retry:             retry,
		TLS:               tls,
		Observe:           m.backendRequest,
		Log:               log,
	}, nil
}

// controlConfig is what the settings say to the control API. Attempts, Deliverer and Addr are
// missing.
func controlConfig(c *Config, log *zap.Logger) backend.ControlConfig {
	return backend.ControlConfig{
		Secrets:  c.Secrets(),
		Mask:     c.ControlMask,
		Path:     c.ControlPath,
		MaxDepth: c.MaxDepth,
		Log:      log,

		AuditRefused: c.Audit == "refused",
	}
}

// orNever turns the operator's 0 into the negative that packages read as "not at all": to them 0 is
// their default.
func orNever(d time.Duration) time.Duration {
	if d == 0 {
		return -1
	}
	return d
}

// rawSubprotocol is a subprotocol as JSON: a number as such, a version as a string.
func rawSubprotocol(text string) wire.RawJSON {
	if text == "" {
		return nil
	}
	if _, err := strconv.ParseUint(text, 10, 31); err == nil {
		return wire.RawJSON(text)
	}
	return wire.RawJSON(strconv.Quote(text))
}
