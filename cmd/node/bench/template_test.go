package bench

import "testing"

func TestTemplate(t *testing.T) {
	v := values{client: 7, channel: `a"b`, number: 12, ms: 1000, run: "run"}
	for text, want := range map[string]string{
		"":                  "",
		"plain":             "plain",
		"user-%d":           "user-7",
		"100%%":             "100%",
		"%d%d":              "77",
		`{"c":"%c"}`:        `{"c":"a\"b"}`,
		`[%n,%t,"%m","%%"]`: `[12,1000,"run.12","%"]`,
	} {
		parsed, err := ParseTemplate(text, "dcntm")
		if got := string(parsed.append(nil, v, true)); err != nil || got != want {
			t.Errorf("%s becomes %s, %v; want %s", text, got, err, want)
		}
	}
	for _, text := range []string{"%", "a%", "%x", "50% off", "%c"} {
		if _, err := ParseTemplate(text, "d"); err == nil {
			t.Errorf("%q is accepted", text)
		}
	}
	parsed, _ := ParseTemplate("x%c", "c")
	if got := string(parsed.append(nil, v, false)); got != `xa"b` || !parsed.has('c') || parsed.has('d') {
		t.Errorf("not in JSON it is %s", got)
	}
}

func TestMarked(t *testing.T) {
	for body, want := range map[string]int64{
		`{"m":"run.12"}`: 12, `{"m":"run.0"}`: 0, `run.9`: 9, `{"m":"run."}`: -1, `{"m":"run.x"}`: -1, `{"m":"ran.1"}`: -1, "": -1,
	} {
		got, ok := marked([]byte(body), "run")
		if ok != (want >= 0) || ok && got != want {
			t.Errorf("%s is of action %d, %v", body, got, ok)
		}
	}
}
