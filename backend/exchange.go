package backend

import (
	"errors"
	"fmt"

	"logux-proxy/wire"
)

// An exchange is the legal order of the answers to one command (PROTOCOL section 3, rules 3 and 6,
// and section 5): resend (optional), then approved or forbidden or unknownAction, then processed or
// error, and action answers anywhere before the end. It is pure: it neither calls nor waits.
//
// The end is the first final answer, when it is read. What is read after the end is ignored (Django sends `processed`
// after `forbidden`), but for the `error` behind a `processed` that request.hold deals with.
type exchange struct {
	// Static.

	auth         bool // the command is auth
	subscription bool // the command is a logux/subscribe

	// Owned by whoever feeds it.

	resent   bool
	approved bool
	touched  bool // an answer to this command was read
	over     bool
}

// A verdict says what is to be done with an answer.
type verdict uint8

const (
	skip   verdict = iota // means nothing: a second resend or approved, or the exchange is over
	pass                  // give it to the caller; more will come
	finish                // it is the final answer
	broken                // it is illegal; the exchange is over
)

// Why an exchange broke.
var (
	errResendLate      = errors.New("resend was answered after approved")
	errResendSubscribe = errors.New("resend was answered to a subscription")
	errProcessedEarly  = errors.New("processed was answered before approved")
	errEmptyAction     = errors.New("an action answer has no action")
	errNoAnswer        = errors.New("the response has no answer to the command")
	errNotApproved     = errors.New("the response ended before approved or forbidden")
	errNotProcessed    = errors.New("the response ended before processed or error")
)

// next judges the next answer to the command. err is set exactly when the verdict is broken.
func (x *exchange) next(a *wire.Answer) (v verdict, err error) {
	if x.over {
		return skip, nil
	}
	x.touched = true
	if x.auth {
		v, err = x.nextAuth(a)
	} else {
		v, err = x.nextAction(a)
	}
	x.over = v == finish || v == broken
	return v, err
}

func (x *exchange) nextAuth(a *wire.Answer) (verdict, error) {
	switch a.Kind {
	case wire.AnswerAuthenticated, wire.AnswerDenied, wire.AnswerWrongSubprotocol, wire.AnswerError:
		return finish, nil
	default:
		return broken, unknownAnswer(a)
	}
}

func (x *exchange) nextAction(a *wire.Answer) (verdict, error) {
	switch a.Kind {
	case wire.AnswerResend:
		switch {
		case x.approved:
			return broken, errResendLate
		case x.subscription:
			return broken, errResendSubscribe
		case x.resent: // "The first resend answer counts."
			return skip, nil
		}
		x.resent = true
		return pass, nil

	case wire.AnswerApproved:
		if x.approved {
			return skip, nil
		}
		x.approved = true
		return pass, nil

	case wire.AnswerAction: // "sent as soon as they are read, before approved as well"
		if a.Action == nil {
			return broken, errEmptyAction
		}
		return pass, nil

	case wire.AnswerProcessed:
		if !x.approved {
			return broken, errProcessedEarly
		}
		return finish, nil

	// Each means what it says, whatever the command was and whatever came before it.
	case wire.AnswerForbidden, wire.AnswerUnknownAction, wire.AnswerUnknownChannel, wire.AnswerError:
		return finish, nil

	default:
		return broken, unknownAnswer(a)
	}
}

// end closes the exchange because no further answer can come. It returns what is missing, or nil
// when the exchange was over before.
func (x *exchange) end() error {
	if x.over {
		return nil
	}
	x.over = true
	switch {
	case !x.touched:
		return errNoAnswer
	case x.auth || x.approved:
		return errNotProcessed
	default:
		return errNotApproved
	}
}

// unknownAnswer names an answer that no exchange of its kind has, or says what is wrong with a malformed one. The name
// comes from outside, so it is quoted and cut.
func unknownAnswer(a *wire.Answer) error {
	const most = 64
	name := a.Name
	if len(name) > most {
		name = name[:most] + "…"
	}
	if a.Kind == wire.AnswerUnknown {
		return fmt.Errorf("an answer is unknown or malformed: %q", name)
	}
	return fmt.Errorf("the answer %q does not belong to this command", name)
}
