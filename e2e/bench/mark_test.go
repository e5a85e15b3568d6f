package main

import "testing"

func TestMarks(t *testing.T) {
	text := []byte(`["sync",7,{"type":"bench/note","m":"1.23.456","text":"x"},{"id":1},{"type":"bench/note","m":"0.0.0"},{"id":2}]`)
	m, rest, ok := nextMark(text)
	if !ok || m != (mark{1, 23, 456}) {
		t.Errorf("first mark %v %v", m, ok)
	}
	m, rest, ok = nextMark(rest)
	if !ok || m != (mark{}) {
		t.Errorf("second mark %v %v", m, ok)
	}
	if m, _, ok = nextMark(rest); ok {
		t.Errorf("third mark %v", m)
	}
	if m, _, ok := nextMark([]byte(`"m":"1`)); !ok || m != (mark{channel: 1}) {
		t.Errorf("half a mark is %v", m)
	}
}
