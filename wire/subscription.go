package wire

import (
	"bytes"

	"github.com/go-json-experiment/json/jsontext"
)

// A Subscription is what the proxy reads of a logux/subscribe or logux/unsubscribe.
type Subscription struct {
	Channel string
	// Filter is the canonical JSON text of the filter object, so that equal filters are equal
	// strings. It is "" for no filter, null and {}, which are the same filter.
	Filter string
}

// ParseSubscription reads channel and filter of a logux/subscribe or logux/unsubscribe body
// (PROTOCOL section 4). It reports reason wrongChannel (a missing or non-string channel) through
// ok == false, and a filter or since member of a wrong type through an *Error of type wrong-format.
func ParseSubscription(body RawJSON) (s Subscription, ok bool, e *Error) {
	var scan scanner
	var values [3]RawJSON
	scan.members(body, []string{"channel", "filter", "since"}, values[:])
	if scan.fault != "" {
		return Subscription{}, false, WrongFormat(body, scan.fault)
	}
	folded := scan.folded
	filter, valid := canonicalFilter(values[1])
	if !valid {
		return Subscription{}, false, WrongFormat(body, "a filter is no object")
	}
	if !scan.isSince(values[2]) {
		return Subscription{}, false, WrongFormat(body, "a since is no object of id and time")
	}
	s.Channel, ok = values[0].text()
	if !ok {
		return Subscription{}, false, nil
	}
	if folded { // the same key to encoding/json, which takes the last
		return Subscription{}, false, WrongFormat(body, "a subscription has a key that is channel, filter or since but for its case")
	}
	s.Filter = filter
	return s, true, nil
}

// canonicalFilter writes equal filters alike (RFC 8785).
func canonicalFilter(v RawJSON) (filter string, ok bool) {
	switch v.kind() {
	case jsontext.KindInvalid, jsontext.KindNull:
		return "", true
	case jsontext.KindBeginObject:
	default:
		return "", false
	}
	canonical := jsontext.Value(bytes.Clone(v))
	if canonical.Canonicalize() != nil {
		return "", false
	}
	if string(canonical) == "{}" {
		return "", true
	}
	return string(canonical), true
}

// isSince reports whether v, the since of a subscription, is what a back-end can expect: an
// object whose id, if any, is a string and whose time, if any, is a number. None is as good.
func (s *scanner) isSince(v RawJSON) bool {
	switch v.kind() {
	case jsontext.KindInvalid, jsontext.KindNull:
		return true
	}
	var values [2]RawJSON
	s.members(v, []string{"id", "time"}, values[:])
	return s.fault == "" && !s.folded &&
		(values[0] == nil || values[0].kind() == jsontext.KindString) &&
		(values[1] == nil || values[1].kind() == jsontext.KindNumber)
}
