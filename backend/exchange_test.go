package backend

import (
	"strings"
	"testing"

	"logux-proxy/wire"
)

var answerOf = map[string]wire.AnswerKind{
	"authenticated": wire.AnswerAuthenticated, "denied": wire.AnswerDenied, "wrongSubprotocol": wire.AnswerWrongSubprotocol,
	"error": wire.AnswerError, "resend": wire.AnswerResend, "approved": wire.AnswerApproved, "forbidden": wire.AnswerForbidden,
	"unknownAction": wire.AnswerUnknownAction, "unknownChannel": wire.AnswerUnknownChannel, "action": wire.AnswerAction,
	"processed": wire.AnswerProcessed,
}

func answerNamed(name string) *wire.Answer {
	a := &wire.Answer{Kind: answerOf[name], Name: name}
	if a.Kind == wire.AnswerAction {
		a.Action = &wire.Action{}
	}
	return a
}

// run feeds x the answers of a script and tells what the caller would hear, "!" for a violation, "…" for no end.
func run(x exchange, script string) string {
	var heard []string
	for _, name := range strings.Fields(script) {
		switch v, err := x.next(answerNamed(name)); v {
		case pass:
			heard = append(heard, name)
		case finish:
			heard = append(heard, "|", name)
		case broken:
			heard = append(heard, "!", err.Error())
		}
	}
	if err := x.end(); err != nil {
		heard = append(heard, "…", err.Error())
	}
	return strings.Join(heard, " ")
}

func TestExchange(t *testing.T) {
	action, subscription, auth := exchange{}, exchange{subscription: true}, exchange{auth: true}
	for _, one := range []struct {
		about  string // the sentence of PROTOCOL that is checked
		x      exchange
		script string
		want   string
	}{
		{"resend (optional) → approved → any number of action → processed", action, "resend approved action action processed", "resend approved action action | processed"},
		{"resend is optional", action, "approved processed", "approved | processed"},
		{"forbidden", action, "resend forbidden", "resend | forbidden"},
		{"unknownAction", action, "unknownAction", "| unknownAction"},
		{"unknownChannel", subscription, "unknownChannel", "| unknownChannel"},
		{"each means what it says: unknownChannel on an action", action, "unknownChannel", "| unknownChannel"},
		{"each means what it says: unknownAction on a subscription", subscription, "unknownAction", "| unknownAction"},
		{"error before approved", action, "error", "| error"},
		{"error after approved", action, "approved error", "approved | error"},
		{"forbidden after approved is still a refusal", action, "approved forbidden", "approved | forbidden"},
		{"An error after approval takes the subscription back", subscription, "approved action error", "approved action | error"},
		{"action answers are sent as soon as they are read, before approved as well", action, "action approved processed", "action approved | processed"},
		{"The first resend answer counts", action, "resend resend approved processed", "resend approved | processed"},
		{"a second approved says nothing", action, "approved approved processed", "approved | processed"},
		{"resend after approved", action, "approved resend processed", "approved ! " + errResendLate.Error()},
		{"resend after approved, though one came before", action, "resend approved resend", "resend approved ! " + errResendLate.Error()},
		{"resend on a subscription", subscription, "resend approved processed", "! " + errResendSubscribe.Error()},
		{"processed before approved", action, "processed approved", "! " + errProcessedEarly.Error()},
		{"processed before approved", subscription, "action processed", "action ! " + errProcessedEarly.Error()},
		{"unknown answer", action, "nonsense approved processed", `! an answer is unknown or malformed: "nonsense"`},
		{"unknown answer after approved", action, "approved nonsense processed", `approved ! an answer is unknown or malformed: "nonsense"`},
		{"an answer to auth for an action", action, "authenticated", `! the answer "authenticated" does not belong to this command`},
		{"Django: a second final answer", subscription, "forbidden processed", "| forbidden"},
		{"Django: a second final answer", subscription, "approved error processed", "approved | error"},
		{"the end is the first final answer", action, "approved processed error", "approved | processed"},
		{"stream ended without the required answers", action, "", "… " + errNoAnswer.Error()},
		{"stream ended without the required answers", action, "resend", "resend … " + errNotApproved.Error()},
		{"stream ended without the required answers", action, "approved", "approved … " + errNotProcessed.Error()},
		{"stream ended without the required answers", action, "approved action", "approved action … " + errNotProcessed.Error()},
		{"authenticated", auth, "authenticated", "| authenticated"},
		{"denied", auth, "denied authenticated", "| denied"},
		{"wrongSubprotocol", auth, "wrongSubprotocol", "| wrongSubprotocol"},
		{"error", auth, "error", "| error"},
		{"an answer to an action for auth", auth, "approved", `! the answer "approved" does not belong to this command`},
		{"empty", auth, "", "… " + errNoAnswer.Error()},
	} {
		if got := run(one.x, one.script); got != one.want {
			t.Errorf("%s: %q gives %q, want %q", one.about, one.script, got, one.want)
		}
	}
	empty := exchange{}
	if v, err := empty.next(&wire.Answer{Kind: wire.AnswerAction}); v != broken || err == nil {
		t.Error("an action answer without an action passes")
	}
	long := unknownAnswer(&wire.Answer{Name: strings.Repeat("x", 1000)}).Error()
	if len(long) > 200 {
		t.Errorf("%d bytes of error for a long name", len(long))
	}
}

// FuzzExchange: whatever a back-end answers, a caller hears one end and a legal order before it.
func FuzzExchange(f *testing.F) {
	f.Add(byte(0), []byte{byte(wire.AnswerResend), byte(wire.AnswerApproved), byte(wire.AnswerProcessed)})
	f.Add(byte(1), []byte{byte(wire.AnswerApproved), byte(wire.AnswerAction), byte(wire.AnswerError), byte(wire.AnswerProcessed)})
	f.Add(byte(2), []byte{byte(wire.AnswerAuthenticated), byte(wire.AnswerDenied)})
	f.Fuzz(func(t *testing.T, kind byte, answers []byte) {
		x := exchange{subscription: kind%3 == 1, auth: kind%3 == 2}
		var resent, approved bool
		ends := 0
		for _, b := range answers {
			a := &wire.Answer{Kind: wire.AnswerKind(b % 14), Action: &wire.Action{}}
			v, err := x.next(a)
			if (v == broken) != (err != nil) {
				t.Fatalf("verdict %d with error %v", v, err)
			}
			if ends > 0 && v != skip {
				t.Fatalf("verdict %d after the end", v)
			}
			switch v {
			case pass:
				switch a.Kind {
				case wire.AnswerResend:
					if resent || approved || x.subscription {
						t.Fatal("an illegal resend passed")
					}
					resent = true
				case wire.AnswerApproved:
					if approved {
						t.Fatal("approved passed twice")
					}
					approved = true
				case wire.AnswerAction:
				default:
					t.Fatalf("answer %d passed", a.Kind)
				}
				if x.auth {
					t.Fatal("an answer to auth is no end")
				}
			case finish:
				if a.Kind == wire.AnswerProcessed && !approved {
					t.Fatal("processed without approved")
				}
				ends++
			case broken:
				ends++
			}
		}
		if x.end() != nil {
			ends++
		}
		if ends != 1 || x.end() != nil {
			t.Fatalf("%d ends", ends)
		}
	})
}
