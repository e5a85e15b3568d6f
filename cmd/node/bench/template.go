package bench

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// A Template is a text with places that each client or action fills in:
//
//	%d  the client's number, from 0
//	%c  the channel (in actions)
//	%n  the action's number, from 1 (in actions)
//	%t  the time, in ms since 1970 (in actions)
//	%m  a mark by which deliveries are told that have another action ID (in actions)
//	%%  a per cent sign
type Template struct {
	parts []part
}

// A part is text, or a place when place is not 0.
type part struct {
	text  string
	place byte
}

// values are what the places of a template stand for.
type values struct {
	client  int
	channel string
	number  int64
	ms      int64
	run     string
}

// ParseTemplate reads text; places are the letters that it may hold.
func ParseTemplate(text, places string) (Template, error) {
	var t Template
	for {
		before, after, found := strings.Cut(text, "%")
		if before != "" {
			t.parts = append(t.parts, part{text: before})
		}
		if !found {
			return t, nil
		}
		switch {
		case strings.HasPrefix(after, "%"):
			t.parts = append(t.parts, part{text: "%"})
		case after != "" && strings.Contains(places, after[:1]):
			t.parts = append(t.parts, part{place: after[0]})
		default:
			return t, fmt.Errorf("a %% is followed by none of %s; write %%%% for the sign itself", strings.Join(strings.Split(places, ""), ", "))
		}
		text = after[1:]
	}
}

// has reports whether there is such a place.
func (t Template) has(place byte) bool {
	return slices.ContainsFunc(t.parts, func(p part) bool { return p.place == place })
}

// append fills the places in. Text that goes into a place is escaped as in a JSON string when inJSON.
func (t Template) append(dst []byte, v values, inJSON bool) []byte {
	for _, p := range t.parts {
		switch p.place {
		case 0:
			dst = append(dst, p.text...)
		case 'd':
			dst = strconv.AppendInt(dst, int64(v.client), 10)
		case 'c':
			if inJSON {
				quoted, _ := json.Marshal(v.channel) // a string always becomes JSON
				dst = append(dst, quoted[1:len(quoted)-1]...)
			} else {
				dst = append(dst, v.channel...)
			}
		case 'n':
			dst = strconv.AppendInt(dst, v.number, 10)
		case 't':
			dst = strconv.AppendInt(dst, v.ms, 10)
		case 'm':
			dst = append(dst, v.run...)
			dst = append(dst, '.')
			dst = strconv.AppendInt(dst, v.number, 10)
		}
	}
	return dst
}

// of is what the template is for a client.
func (t Template) of(client int) string {
	return string(t.append(nil, values{client: client}, false))
}

// marked finds the mark of a run in body and returns the action's number.
func marked(body []byte, run string) (number int64, ok bool) {
	_, rest, found := strings.Cut(string(body), run+".")
	if !found {
		return 0, false
	}
	digits := 0
	for digits < len(rest) && digits < 18 && rest[digits] >= '0' && rest[digits] <= '9' {
		digits++
	}
	number, err := strconv.ParseInt(rest[:digits], 10, 64)
	return number, err == nil
}
