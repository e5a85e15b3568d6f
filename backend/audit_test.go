package backend

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"
)

// audited is a control API whose log is looked at.
func audited(change func(*ControlConfig)) (call func(body string) int, logs *observer.ObservedLogs) {
	core, logs := observer.New(zapcore.DebugLevel)
	cfg := controlConfig(newDeliverer())
	cfg.Log = zap.New(core)
	cfg.Attempts = noAttempts{}
	if change != nil {
		change(&cfg)
	}
	h := NewControl(cfg)
	return func(body string) int { return callControl(h, "POST", "/", body).Code }, logs
}

// noAttempts blocks nobody.
type noAttempts struct{}

func (noAttempts) Blocked(netip.Addr) bool { return false }
func (noAttempts) Failed(netip.Addr)       {}

// entryText is an entry as text, fields in the order of their names.
func entryText(e observer.LoggedEntry) string {
	return fmt.Sprint(e.Level, " ", e.Message, " ", e.ContextMap())
}

// Each control request has one line, which holds neither a secret nor anything of an action but its type and ID.
func TestAudit(t *testing.T) {
	const canary = "canary-77f1"
	secret := `{"version":4,"secret":"` + canary + `","commands":`
	command := func(actionType, meta string) string {
		return fmt.Sprintf(`{"command":"action","action":{"type":%q,"text":"%s"},"meta":{%s,"x":"%[2]s"}}`, actionType, canary, meta)
	}
	call, logs := audited(func(c *ControlConfig) { c.Secrets = []string{canary} })
	for _, one := range []struct{ body, want string }{
		{
			secret + "[" + command("a", `"id":"1 server:x 0","channels":["c1","c2"],"users":["`+canary+`"]`) + "," + command("b", `"clients":["1:a"]`) + "," + command("a", `"node":"1:a:b"`) + "]}",
			"info Control request was accepted map[actionIds:[1 server:x 0] address:127.0.0.1 audit:control commands:3 status:200 targets:5 types:[a b]]",
		},
		{secret + "[]}", "info Control request was accepted map[address:127.0.0.1 audit:control commands:0 status:200 targets:0 types:[]]"},
		{secret, "warn A control request was refused map[address:127.0.0.1 audit:control result:Wrong format status:400]"},
		{secret + "[{}]}", "warn A control request was refused map[address:127.0.0.1 audit:control result:Wrong command status:400]"},
		{
			`{"version":4,"secret":"` + canary + `2","commands":[` + command(canary, `"id":"`+canary+`"`) + `]}`,
			"warn A control request had a wrong secret map[address:127.0.0.1 audit:control result:Wrong secret status:403]",
		},
	} {
		call(one.body)
		entries := logs.TakeAll()
		if len(entries) != 1 {
			t.Fatalf("%d lines for %s", len(entries), one.body)
		}
		if got := entryText(entries[0]); got != one.want || strings.Contains(got, canary) {
			t.Errorf("got\n%s\nwant\n%s", got, one.want)
		}
	}

	call, logs = audited(func(c *ControlConfig) { c.Mask = nil })
	if status := call(secret + "[]}"); status != 403 || entryText(logs.TakeAll()[0]) != "warn A control request came from outside LOGUX_CONTROL_MASK map[address:127.0.0.1 audit:control result:"+bodyWrongMask+" status:403]" {
		t.Errorf("%d", status)
	}
	call, logs = audited(func(c *ControlConfig) {
		d := newDeliverer()
		d.fail = errors.New("the bus is away")
		c.Deliverer = d
	})
	call(controlHead + "[" + incCommand + "]}")
	if got := entryText(logs.TakeAll()[0]); got != "error An action of the back-end was not delivered map[address:127.0.0.1 audit:control commands:1 delivered:0 error:the bus is away failedType:INC result:Not delivered status:500 targets:1 types:[INC]]" {
		t.Error(got)
	}
}

// A request with many long names has a short line.
func TestAuditIsBounded(t *testing.T) {
	call, logs := audited(nil)
	var commands []string
	for i := range 1000 {
		commands = append(commands, fmt.Sprintf(`{"command":"action","action":{"type":"%d%s"},"meta":{"id":"%d server:%[2]s 0"}}`, i, strings.Repeat("x", 1000), i))
	}
	call(controlHead + "[" + strings.Join(commands, ",") + "]}")
	if got := entryText(logs.TakeAll()[0]); len(got) > 3000 || !strings.Contains(got, "commands:1000") {
		t.Errorf("%d bytes: %.500s", len(got), got)
	}
}

// Refused requests, which anybody can send, are sampled and hide no others; accepted ones are all there, or none.
func TestAuditOfMany(t *testing.T) {
	const many = 1000
	call, logs := audited(nil)
	for range many {
		call("{")
		call(controlHead + "[]}")
	}
	call(`{"version":4,"secret":"x","commands":[]}`)
	if n := logs.FilterMessage(controlAccepted).Len(); n != many {
		t.Errorf("%d lines for %d accepted requests", n, many)
	}
	if n := logs.FilterMessage(controlRefused).Len(); n == 0 || n > many/5 {
		t.Errorf("%d lines for %d refused requests", n, many)
	}
	if logs.FilterMessage(controlWrongSecret).Len() != 1 {
		t.Error("the wrong secret is hidden")
	}
	call, logs = audited(func(c *ControlConfig) { c.AuditRefused = true })
	call(controlHead + "[]}")
	call("{")
	if all := logs.TakeAll(); len(all) != 1 || all[0].Message != controlRefused {
		t.Errorf("%v", all)
	}
}
