package main

import "testing"

func TestAnswers(t *testing.T) {
	for _, c := range []struct{ body, answers string }{
		{`{"version":4,"secret":"s","commands":[]}`, `[]`},
		{
			`{"version":4,"secret":"s","commands":[{"command":"auth","authId":"a1","userId":"1","token":"}\"{","headers":{}}]}`,
			`[{"answer":"authenticated","authId":"a1","subprotocol":"1.0.0"}]`,
		},
		{
			`{"commands":[{"authId":"a1","command":"auth","cookie":{}}, {"action":{"type":"bench/act","id":"no"},"command":"action","headers":{},"meta":{"id":"1 1:c:t 0","time":1}}],"version":4}`,
			`[{"answer":"authenticated","authId":"a1","subprotocol":"1.0.0"},{"answer":"approved","id":"1 1:c:t 0"},{"answer":"processed","id":"1 1:c:t 0"}]`,
		},
		{
			`{"version":4,"commands":[{"command":"action","action":{"type":"bench/pub","channel":"x"},"meta":{"time":1,"id":"2 1:c:t 0"},"headers":{}}]}`,
			`[{"answer":"resend","id":"2 1:c:t 0","channels":["x"]},{"answer":"approved","id":"2 1:c:t 0"},{"answer":"processed","id":"2 1:c:t 0"}]`,
		},
		{`{`, `[]`},
		{`{"commands":[{"command":"auth"`, `[]`},
	} {
		if got, _ := appendAnswers(nil, []byte(c.body)); string(got) != c.answers {
			t.Errorf("%s\nis answered by %s\nand not       %s", c.body, got, c.answers)
		}
	}
}
