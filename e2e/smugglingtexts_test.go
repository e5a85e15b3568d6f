package e2e

import (
	_ "embed"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"
)

// A smuggled is the text of an action as a client sends it, whether or not it is one.
type smuggled struct {
	name, text string
	want       verdict
}

// A verdict says what must become of a text. Whatever comes through of those that may must mean the same to everybody.
type verdict int

const (
	may verdict = iota
	must
	mustNot
)

//go:embed testdata/jsontestsuite.txt
var jsonTestSuite string

// suiteTexts are the texts of JSONTestSuite as a member of an action, and those that are no JSON also as the action itself. Doubled keys are JSON to the
// suite; they are refused here.
func suiteTexts(t testing.TB) []smuggled {
	t.Helper()
	var all []smuggled
	add := func(name, text string) {
		inside := `{"type":"SUITE","x":` + text + `}`
		switch {
		case strings.HasPrefix(name, "n_"):
			all = append(all, smuggled{name, text, mustNot}, smuggled{name + " inside", inside, mustNot})
		case strings.HasPrefix(name, "y_object_duplicated_key"):
			all = append(all, smuggled{name, inside, mustNot})
		case strings.HasPrefix(name, "y_"):
			all = append(all, smuggled{name, inside, must})
		default:
			all = append(all, smuggled{name, inside, may})
		}
	}
	for line := range strings.Lines(jsonTestSuite) {
		if line[0] == '#' {
			continue
		}
		name, quoted, _ := strings.Cut(strings.TrimSuffix(line, "\n"), "\t")
		text, err := strconv.Unquote(quoted)
		if err != nil {
			t.Fatalf("testdata/jsontestsuite.txt: %s: %v", name, err)
		}
		add(name, text)
	}
	add("n_structure_100000_opening_arrays", strings.Repeat("[", 100_000))
	add("n_structure_open_array_object", strings.Repeat(`[{"":`, 50_000))
	return all
}

// maxNesting is how deep a member of an action may be nested: 64 levels (LOGUX_MAX_DEPTH) less the message and the action.
const maxNesting = 62

func nested(open, inner, closing string, n int) string {
	return strings.Repeat(open, n) + inner + strings.Repeat(closing, n)
}

// What some parser or other is known to read in its own way, as JSON texts of strings, of keys and of values. The good ones are JSON that means one thing
// to every language; one bad one makes a text that must be refused.
var (
	goodStrings = []string{
		`"a"`, `""`, `" "`, `"\u0061"`, `"a\u0000b"`, `"\u0000"`, `"\u0000a"`, `"\ud83d\ude00"`, `"\uD83D\uDE00"`, `"😀"`, `"\uFFFF"`, `"\ufdd0"`, "\"\ufeffa\"", "\"a\u200bb\"", `"\u200b"`,
		"\"\u202e\"", "\"\u2028\u2029\"", `"\u2028"`, `"\/\b\f\n\r\t\"\\"`, `"é"`, "\"e\u0301\"", "\"\x7f\"", `"__proto__"`, `"null"`, `"0"`, `"1e3"`, `"logux/undo"`, `"LOGUX/SUBSCRIBE"`,
		`"logux\/processed"`, `"\u006cogux/undo"`, "\"logux/\u200bsubscribe\"", `"</script>"`, `"<&>"`, `"/*a*/"`, `"a//b"`, `"{\"type\":\"b\"}"`, "\"\U0010ffff\"", `"` + strings.Repeat("0", 5000) + `"`,
	}
	goodKeys = []string{
		`"a"`, `""`, `" "`, `"__proto__"`, `"constructor"`, `"prototype"`, `"toString"`, `"length"`, `"hasOwnProperty"`, `"json_class"`, `"^o"`, `"$ref"`, `"0"`, `"00"`, `"-1"`, `"1.0"`, `"null"`,
		`"type "`, `" type"`, `"type\u0000"`, `"ty\u0000pe"`, "\"ty\u200bpe\"", `"type\u200d"`, "\"\ufefftype\"", `"tуpe"`, `"ｔype"`, `"typé"`, "\"type\u0301\"", `"types"`, `"typ"`, `"\ud83d\ude00"`,
		`"\u0061ction"`, `"meta"`, `"command"`, `"id"`, `"channel"`, `"ch\u0061nnels"`, `"\uFFFF"`, `"a\"b"`, `"a\\"`, `"\t"`,
	}
	goodValues = append([]string{
		`null`, `true`, `false`, `0`, `-0`, `-0.0`, `1.0`, `1E+0`, `1e-0`, `9007199254740993`, `-9007199254740993`, `9223372036854775808`, `18446744073709551616`, `0.1000000000000000055511151231257827`,
		`1e400`, `-1e400`, `1e-400`, `1E+99999999999999999999`, `0e99999999999`, `1e-99999999999`, `0.` + strings.Repeat("1", 5000), `1e` + strings.Repeat("0", 5000), `-` + strings.Repeat("9", 4300),
		strings.Repeat("1", 4301) + `.0`, `[]`, `{}`, `[[],{}]`, ` [ 1 , 2 ] `, "\r\n\t[\r\n]\t", `{"type":"b","channel":"b","id":"b"}`, `[{"type":"b"},{"type":"c"}]`, `{"":{"":""}}`,
		nested(`[`, ``, `]`, maxNesting), nested(`{"type":`, `1`, `}`, maxNesting), nested(`[{"":`, `1`, `}]`, maxNesting/2), `["` + strings.Repeat("[{", 200) + `"]`,
	}, goodStrings...)

	badStrings = []string{
		`"\ud800"`, `"\udc00"`, `"\udc00\ud800"`, `"\ud800a"`, `"\ud800\u0041"`, `"\uDEAD"`, "\"\xed\xa0\x80\"", "\"\xed\xa0\xbd\xed\xb8\x80\"", "\"\x80\"", "\"\xe2\x82\"", "\"\xc0\xaf\"", "\"\xc0\x80\"", "\"\xc1\xa1\"",
		"\"\xe0\x80\xaf\"", "\"\xf0\x80\x80\xaf\"", "\"\xf4\x90\x80\x80\"", "\"\xe9\"", "\"\xff\"", "\"\xfe\xff\"", "\"a\x00b\"", "\"a\nb\"", "\"\t\"", "\"\x1f\"", `"\x41"`, `"\u00"`, `"\u{41}"`, `"\0"`, `"\a"`, `"\'"`, `'a'`, `“a”`, "`a`", `"a`, `a"`,
	}
	badKeys = append([]string{
		`"type"`, `"\u0074ype"`, `"t\u0079pe"`, `"typ\u0065"`, `"\u0074\u0079\u0070\u0065"`, `"Type"`, `"TYPE"`, `"typ\u0045"`, `"\u0000"`, `"\u0000type"`, `"\u0000*\u0000type"`, `type`, `'type'`, `1`, `null`, `[]`, ``,
	}, badStrings...)
	badValues = append([]string{
		`NaN`, `-NaN`, `Infinity`, `-Infinity`, `undefined`, `True`, `None`, `nil`, `tru`, `0x10`, `0o7`, `0b1`, `01`, `-01`, `+1`, `.5`, `1.`, `1.e1`, `1e`, `1e+`, `- 1`, `1_000`, `1n`, `--1`, `１`, strings.Repeat("1", 4301), `-` + strings.Repeat("1", 5000),
		`[` + strings.Repeat("0,", 3000) + strings.Repeat("9", 9000) + `]`, `[1,]`, `[,1]`, `[1 2]`, `{"a":1,}`, `{"a":1,"a":1}`, `{"a":1,"\u0061":2}`, `[{"b":[{"":1,"":2}]}]`, `{"\u0000a":1}`, `{"a":{"\u0000":1}}`, `{a:1}`, `1/**/`, "1//\n", `#1`, `<!--1-->`, `[1}`,
		"\x00", "\ufeff1", "\u00a01", "\f1", "\v1", "\u20281", "1\x00", ``, nested(`[`, ``, `]`, maxNesting+1), nested(`{"a":`, `1`, `}`, maxNesting+1), nested(`[`, ``, `]`, 10_000), nested(`{"a":`, `1`, `}`, 10_000),
	}, badStrings...)

	spaces = []string{"", "", "", " ", "\n", "\t", "\r\n", "  "}
)

// generatedTexts are a member each for everything good and bad above, actions made of many good members, and what chance makes of these.
func generatedTexts() []smuggled {
	all := []smuggled{
		{"two channels", `{"type":"logux/subscribe","channel":"a","channel":"b"}`, mustNot},
		{"two channels, one escaped", `{"type":"logux/subscribe","channel":"a","\u0063hannel":"b"}`, mustNot},
		{"two channels but for the case", `{"type":"logux/subscribe","channel":"a","Channel":"b"}`, mustNot},
		{"two filters but for the case", `{"type":"logux/subscribe","channel":"a","filter":{},"FILTER":{"a":1}}`, mustNot},
		{"a since with two ids but for the case", `{"type":"logux/subscribe","channel":"a","since":{"id":"1 a 0","Id":"2 a 0","time":1}}`, mustNot},
		{"two ids", `{"type":"A","id":"a","id":"b"}`, mustNot},
		{"no type but for the case", `{"Type":"A"}`, mustNot},
		{"type in the prototype", `{"__proto__":{"type":"A"}}`, mustNot},
		{"channel in the prototype", `{"type":"logux/subscribe","__proto__":{"channel":"a"}}`, mustNot},
		{"Channel of one's own", `{"type":"A","Channel":"a","ID":1}`, may},
		{"tail", `{"type":"A"}{}`, mustNot},
		{"tail of a bracket", `{"type":"A"}}`, mustNot},
		{"tail of a comment", `{"type":"A"}/**/`, mustNot},
		{"tail of a NUL", "{\"type\":\"A\"}\x00", mustNot},
		{"byte order mark", "\ufeff{\"type\":\"A\"}", mustNot},
		{"UTF-16", "{\x00\"\x00t\x00y\x00p\x00e\x00\"\x00:\x00\"\x00A\x00\"\x00}\x00", mustNot},
	}
	add := func(name, text string, want verdict) { all = append(all, smuggled{name, text, want}) }
	for _, s := range goodStrings {
		add("type "+s, `{"type":`+s+`}`, must)
		add("channel "+s, `{"type":"A","channel":`+s+`,"id":`+s+`}`, must)
		add("subscription to "+s, `{"type":"logux/subscribe","channel":`+s+`}`, may)
	}
	for _, s := range badStrings {
		add("type "+s, `{"type":`+s+`}`, mustNot)
		add("channel "+s, `{"type":"logux/subscribe","channel":`+s+`}`, mustNot)
	}
	for _, k := range goodKeys {
		add("key "+k, `{`+k+`:"b","type":"A"}`, must)
	}
	for _, k := range badKeys {
		add("key "+k, `{"type":"A",`+k+`:"b"}`, mustNot)
	}
	for _, v := range goodValues {
		add("value "+v, `{"type":"A","x":`+v+`}`, must)
	}
	for _, v := range badValues {
		add("value "+v, `{"type":"A","x":`+v+`}`, mustNot)
	}
	random := rand.New(rand.NewPCG(45, 8259))
	pick := func(of []string) string { return of[random.IntN(len(of))] }
	for i := range 80 {
		text := randomAction(random, pick)
		add(fmt.Sprintf("action %d", i), text, must)
		for j := range 3 {
			add(fmt.Sprintf("action %d, spoilt %d", i, j), spoil(random, text), may)
		}
	}
	return all
}

// randomAction has each key once, in any order.
func randomAction(random *rand.Rand, pick func([]string) string) string {
	members := []string{`"type":` + pick(goodStrings)}
	for _, i := range random.Perm(len(goodKeys))[:random.IntN(8)] {
		members = append(members, goodKeys[i]+pick(spaces)+`:`+pick(spaces)+pick(goodValues))
	}
	random.Shuffle(len(members), func(i, j int) { members[i], members[j] = members[j], members[i] })
	return `{` + pick(spaces) + strings.Join(members, pick(spaces)+`,`+pick(spaces)) + pick(spaces) + `}`
}

// spoil takes away, doubles or replaces a few bytes.
func spoil(random *rand.Rand, text string) string {
	const alphabet = "\"\"\\\\{}[]:,,u0tT eE-.1/'\x00\xff\xc0\x80\xef\n"
	for range 1 + random.IntN(3) {
		from := random.IntN(len(text))
		to := min(len(text), from+1+random.IntN(6))
		switch random.IntN(4) {
		case 0:
			text = text[:from] + text[to:]
		case 1:
			text = text[:to] + text[from:]
		default:
			text = text[:from] + string(alphabet[random.IntN(len(alphabet))]) + text[from+1:]
		}
		if text == "" {
			return "{}"
		}
	}
	return text
}
