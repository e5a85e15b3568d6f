package gateway

import (
	"maps"
	"testing"
	"unicode/utf8"
)

// PROTOCOL section 5: "`cookie` is the upgrade request's Cookie header, parsed and percent-decoded."
func TestParseCookies(t *testing.T) {
	for header, want := range map[string]map[string]string{
		"":                      {},
		"token=abc":             {"token": "abc"},
		"a=1; b=2;c=3 ;  d = 4": {"a": "1", "b": "2", "c": "3", "d": "4"},
		"a=%D0%B1%20c":          {"a": "б c"},
		"a=100%; b=%zz":         {"a": "100%", "b": "%zz"},
		"a=x=y":                 {"a": "x=y"},
		"a=1; a=2":              {"a": "1"},
		`a="quoted"; b="; c=""`: {"a": "quoted", "b": `"`, "c": ""},
		"novalue; =x; ; a=":     {"a": ""},
		"__proto__=1":           {"__proto__": "1"},
		"a=%FF%FE":              {"a": "\uFFFD"},
		"a=+":                   {"a": "+"},
	} {
		if got := parseCookies(header); !maps.Equal(got, want) {
			t.Errorf("%q: %q, want %q", header, got, want)
		}
	}
}

func FuzzParseCookies(f *testing.F) {
	f.Add("a=1; b=%20; c=\"x\"")
	f.Add("a=%FF; =;;; a")
	f.Fuzz(func(t *testing.T, header string) {
		for name, value := range parseCookies(header) {
			if name == "" || !utf8.ValidString(value) {
				t.Errorf("%q: cookie %q is %q", header, name, value)
			}
		}
	})
}
