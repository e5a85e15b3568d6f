package main

import "bytes"

// number reads the decimal number that text begins with, and returns what follows it.
func number(text []byte) (n int64, rest []byte) {
	for len(text) > 0 && text[0] >= '0' && text[0] <= '9' {
		n = n*10 + int64(text[0]-'0')
		text = text[1:]
	}
	return n, text
}

// A mark is what a published action carries so that its deliveries can be counted:
// "m":"<channel>.<sequence in the channel>.<publication>".
type mark struct {
	channel, seq, publication int64
}

var markStart = []byte(`"m":"`)

// nextMark finds the first mark in text and returns what follows it.
func nextMark(text []byte) (m mark, rest []byte, ok bool) {
	i := bytes.Index(text, markStart)
	if i < 0 {
		return m, nil, false
	}
	rest = text[i+len(markStart):]
	m.channel, rest = number(rest)
	m.seq, rest = number(after(rest, '.'))
	m.publication, rest = number(after(rest, '.'))
	return m, rest, true
}

func after(text []byte, c byte) []byte {
	if len(text) > 0 && text[0] == c {
		return text[1:]
	}
	return nil
}
