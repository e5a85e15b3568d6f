package main

import (
	"strings"

	"go.uber.org/zap"
)

// addresses are those that were bound; "" for those that have no listener of their own.
type addresses struct{ listen, control, admin, gossip string }

// logStart logs what runs, where, and what to do next, once everything listens; then the warnings
// about settings, which a start that fails over another setting does not show.
func logStart(log *zap.Logger, c *Config, a addresses) {
	listen, control, admin := a.listen, a.control, a.admin
	scheme, web := "ws://", "http://"
	if c.Key != "" {
		scheme, web = "wss://", "https://"
	}
	controlURL := "http://" + control
	if control == "" {
		controlURL = web + listen
	}
	networks := make([]string, 0, len(c.ControlMask))
	for _, n := range c.ControlMask {
		networks = append(networks, n.String())
	}
	fields := []zap.Field{
		zap.String("version", version()),
		zap.String("nodeId", "server:"+c.ID),
		zap.String("environment", c.Env),
		zap.String("listen", scheme+listen+"/"),
		zap.String("healthCheck", web+listen+"/health"),
		zap.String("backend", c.Backend.Scheme+"://"+c.Backend.Host+c.Backend.Path), // the rest may hold a key
		zap.String("controlListen", controlURL+c.ControlPath),
		zap.String("controlMask", strings.Join(networks, ", ")),
	}
	if admin != "" {
		fields = append(fields, zap.String("admin", "http://"+admin+"/"))
	}
	if c.Redis != nil {
		fields = append(fields, zap.Stringer("redis", c.Redis))
	}
	if a.gossip != "" {
		fields = append(fields, zap.String("cluster", c.Cluster), zap.String("gossip", a.gossip), zap.String("join", strings.Join(c.Join, ", ")))
	}
	if c.Trace != nil {
		fields = append(fields, zap.String("traces", shownURL(c.traceURL())), zap.Float64("traceRatio", float64(c.TraceRatio)))
	}
	fields = append(fields, zap.Int("maxConnections", connectionLimit(c.MaxConnections)))
	hint := "Set LOGUX_CONTROL_SECRET of the back-end to the same secret."
	if c.Development() {
		hint = "This is development mode: any web site may connect and errors are told to clients. Set LOGUX_ENV=production for the internet.\n" +
			"Point a Logux client at " + scheme + listen + "/. Press Ctrl-C to stop."
	} else if len(c.Origins) == 0 {
		hint = "Only pages of the same host may connect. Set LOGUX_ORIGINS when your site is on another one.\n" + hint
	}
	log.Info("Logux proxy is listening", append(fields, zap.String(hintKey, hint))...)
	for _, w := range c.Warnings {
		log.Warn(w.Message, zap.String(hintKey, w.Hint))
	}
}
