package main

import (
	"net/http"
	"strings"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// Lines about what operators do at the admin listener have the field audit: "admin", those about the control API, which
// backend writes, audit: "control".
var auditAdmin = zap.String("audit", "admin")

// A refusalLog logs requests to the admin listener that were refused: of many in a second some, for any page that an
// operator has open may send them.
type refusalLog struct{ log *zap.Logger }

func newRefusalLog(log *zap.Logger) refusalLog {
	return refusalLog{log.WithOptions(zap.WrapCore(func(core zapcore.Core) zapcore.Core {
		return zapcore.NewSamplerWithOptions(core, time.Second, 10, 100)
	}))}
}

// add logs one request and how it was answered.
func (a refusalLog) add(r *http.Request, status int, result string) {
	a.log.Warn("An admin request was refused", auditAdmin, zap.String("from", r.RemoteAddr), zap.String("path", r.URL.Path),
		zap.Int("status", status), zap.String("result", result))
}

// profilesLogged logs who takes a profile: it tells much of a node, and some cost it CPU time.
func profilesLogged(next http.Handler, log *zap.Logger) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if name, found := strings.CutPrefix(r.URL.Path, "/debug/pprof/"); found && name != "" {
			fields := []zap.Field{auditAdmin, zap.String("profile", name), zap.String("from", r.RemoteAddr)}
			if seconds := r.URL.Query().Get("seconds"); seconds != "" {
				fields = append(fields, zap.String("seconds", seconds))
			}
			log.Info("An operator takes a profile", fields...)
		}
		next.ServeHTTP(w, r)
	})
}
