package backend

import (
	"net/http"
	"slices"

	"go.uber.org/zap"
)

// Most names of one kind in a line about a control request, and bytes of each.
const (
	auditNames     = 10
	auditNameBytes = 100
)

// Messages about control requests. What is refused is sampled by its message, so that many requests from a wrong address
// do not hide a wrong secret.
const (
	controlAccepted    = "Control request was accepted"
	controlRefused     = "A control request was refused"
	controlWrongMask   = "A control request came from outside LOGUX_CONTROL_MASK"
	controlWrongSecret = "A control request had a wrong secret"
	controlFailed      = "An action of the back-end was not delivered"
)

// audit writes the one line about a control request: who, what, and how it ended. It holds no secret and nothing of an
// action but its type and ID.
func (h *control) audit(c *controlCall, status int, body string) {
	fields := []zap.Field{zap.String("audit", "control"), zap.Stringer("address", c.addr), zap.Int("status", status)}
	if status == http.StatusOK {
		if !h.cfg.AuditRefused {
			h.cfg.Log.Info(controlAccepted, append(fields, c.what()...)...)
		}
		return
	}
	fields = append(fields, zap.String("result", body))
	switch {
	case c.err != nil:
		failed := c.actions[c.failed].Action
		fields = append(append(fields, c.what()...), zap.String("failedType", cut(failed.Type, auditNameBytes)))
		if failed.ID != "" {
			fields = append(fields, zap.String("failedId", cut(string(failed.ID), auditNameBytes)))
		}
		h.refusal.Error(controlFailed, append(fields, zap.Int("delivered", c.failed), zap.Error(c.err))...)
	case body == bodyWrongMask:
		h.refusal.Warn(controlWrongMask, fields...)
	case body == bodyWrongSecret:
		h.refusal.Warn(controlWrongSecret, fields...)
	default:
		h.refusal.Warn(controlRefused, fields...)
	}
}

// what says which actions c has and for how many they are: the types and the IDs of the first ones, IDs as far as
// the back-end gave any.
func (c *controlCall) what() []zap.Field {
	var types, ids []string
	targets := 0
	for i := range c.actions {
		a := &c.actions[i]
		t := &a.Targets
		targets += len(t.Channels) + len(t.Users) + len(t.Clients) + len(t.Nodes)
		if name := cut(a.Action.Type, auditNameBytes); len(types) < auditNames && !slices.Contains(types, name) {
			types = append(types, name)
		}
		if id := a.Action.ID; id != "" && len(ids) < auditNames {
			ids = append(ids, cut(string(id), auditNameBytes))
		}
	}
	fields := []zap.Field{zap.Int("commands", len(c.actions)), zap.Strings("types", types), zap.Int("targets", targets)}
	if ids != nil {
		fields = append(fields, zap.Strings("actionIds", ids))
	}
	return fields
}
