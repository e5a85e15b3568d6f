package wire

import (
	"strings"
	"testing"
)

// "JSON with duplicate keys, invalid UTF-8, excessive depth or trailing data is refused
// (`wrong-format`), so that the proxy and the back-end can never read two different actions from one text."
func TestSmuggling(t *testing.T) {
	const meta = `{"id":1,"time":1}`
	sync := func(body, meta string) string { return `["sync",1,` + body + `,` + meta + `]` }
	for name, text := range map[string]string{
		"two types":                   sync(`{"type":"a","type":"b"}`, meta),
		"two types, one escaped":      sync(`{"type":"a","\u0074ype":"b"}`, meta),
		"two types, escaped twice":    sync(`{"t\u0079pe":"a","typ\u0065":"b"}`, meta),
		"two channels":                sync(`{"type":"logux/subscribe","channel":"a","channel":"b"}`, meta),
		"two keys deep inside":        sync(`{"type":"a","x":[{"y":{"k":1,"l":2,"\u006b":3}}]}`, meta),
		"two equal members":           sync(`{"type":"a","type":"a"}`, meta),
		"two types but for the case":  sync(`{"type":"a","Type":"b"}`, meta),
		"a type but for the case":     sync(`{"t\u0059pe":"b","type":"a"}`, meta),
		"key of NUL":                  sync(`{"type":"a","\u0000":1}`, meta),
		"key from NUL, deep inside":   sync(`{"type":"a","x":[{"y":{"\u0000*\u0000z":3}}]}`, meta),
		"header from NUL":             `["headers",{"\u0000a":"b"}]`,
		"4,301 digits":                sync(`{"type":"a","x":`+strings.Repeat("1", 4301)+`}`, meta),
		"9,000 digits, negative":      sync(`{"type":"a","x":"1","y":[0,-`+strings.Repeat("1", 9000)+`]}`, meta),
		"header of 4,301 digits":      `["headers",{"a":` + strings.Repeat("1", 4301) + `}]`,
		"two empty keys":              sync(`{"type":"a","":1,"":2}`, meta),
		"two ids":                     sync(`{"type":"a"}`, `{"id":1,"time":1,"id":2}`),
		"two ids, one escaped":        sync(`{"type":"a"}`, `{"id":1,"time":1,"\u0069d":2}`),
		"two foreign keys":            sync(`{"type":"a"}`, `{"id":1,"time":1,"x":1,"x":2}`),
		"two tokens":                  `["connect",5,"a",0,{"token":"a","token":"b"}]`,
		"two headers":                 `["headers",{"a":"b","a":"c"}]`,
		"two keys in an unknown":      `["unknown",{"a":"b","a":"c"}]`,
		"many keys, two alike":        sync(`{"type":"a",`+manyKeys(100)+`,"k50":1}`, meta),
		"high surrogate alone":        sync(`{"type":"\ud800"}`, meta),
		"low surrogate alone":         sync(`{"type":"\udc00"}`, meta),
		"surrogates swapped":          sync(`{"type":"\udc00\ud800"}`, meta),
		"half a pair before a letter": sync(`{"type":"\ud800a"}`, meta),
		"surrogate in a value":        sync(`{"type":"a","b":["\uDEAD"]}`, meta),
		"surrogate in a key":          sync(`{"type":"a","\uDEAD":1}`, meta),
		"surrogate in a node ID":      `["connect",5,"a\ud800",0]`,
		"surrogate in UTF-8":          sync("{\"type\":\"\xed\xa0\x80\"}", meta),
		"bare continuation":           sync("{\"type\":\"\x80\"}", meta),
		"cut character":               sync("{\"type\":\"\xe2\x82\"}", meta),
		"overlong slash":              sync("{\"type\":\"\xc0\xaf\"}", meta),
		"overlong NUL":                sync("{\"type\":\"\xc0\x80\"}", meta),
		"beyond Unicode":              sync("{\"type\":\"\xf4\x90\x80\x80\"}", meta),
		"latin-1":                     sync("{\"type\":\"\xe9\"}", meta),
		"bad UTF-8 in a key":          sync("{\"type\":\"a\",\"\xff\":1}", meta),
		"bad UTF-8 outside":           "\xff[\"ping\",1]",
		"raw NUL in a string":         sync("{\"type\":\"a\x00b\"}", meta),
		"raw new line in a string":    sync("{\"type\":\"a\nb\"}", meta),
		"NUL after":                   "[\"ping\",1]\x00",
		"NUL before":                  "\x00[\"ping\",1]",
		"NUL between":                 "[\"ping\",\x001]",
		"byte order mark":             "\ufeff[\"ping\",1]",
		"byte order mark inside":      "[\"ping\",\ufeff1]",
		"UTF-16":                      "[\x00\"\x00p\x00",
		"no-break space":              "[\"ping\",\u00a01]",
		"form feed":                   "[\"ping\",\f1]",
		"1e400 as added":              `["ping",1e400]`,
		"1e400 as protocol":           `["connect",1e400,"a",0]`,
		"1e400 as id":                 sync(`{"type":"a"}`, `{"id":1e400,"time":1}`),
		"1e400 as time":               sync(`{"type":"a"}`, `{"id":1,"time":1e400}`),
		"2^53+1 as added":             `["ping",9007199254740993]`,
		"2^53+1 in pieces":            `["ping",0.9007199254740993e16]`,
		"2^53+1 as id":                sync(`{"type":"a"}`, `{"id":[1,9007199254740993],"time":1}`),
		"2^64 as id":                  sync(`{"type":"a"}`, `{"id":[18446744073709551616,1],"time":1}`),
		"depth 10,000":                sync(`{"type":"a","x":`+strings.Repeat("[", 10_000)+strings.Repeat("]", 10_000)+`}`, meta),
		"depth 10,000 of objects":     sync(`{"type":"a","x":`+strings.Repeat(`{"a":`, 10_000)+`1`+strings.Repeat("}", 10_000)+`}`, meta),
		"depth 1,000,000, cut":        strings.Repeat("[", 1_000_000),
		"depth in an unknown":         `["unknown",` + strings.Repeat("[", 100) + strings.Repeat("]", 100) + `]`,
		"tail":                        `["ping",1]["ping",2]`,
		"tail of an object":           `["ping",1]{}`,
		"tail of a bracket":           `["ping",1]]`,
		"comment":                     `["ping",1/**/]`,
		"comment after":               `["ping",1]//`,
		"single quotes":               `['ping',1]`,
		"NaN":                         sync(`{"type":"a","b":NaN}`, meta),
		"Infinity":                    sync(`{"type":"a","b":-Infinity}`, meta),
		"hexadecimal":                 sync(`{"type":"a","b":0x10}`, meta),
		"key without quotes":          sync(`{type:"a"}`, meta),
		"comma too many":              sync(`{"type":"a",}`, meta),
	} {
		t.Run(name, func(t *testing.T) { refused(t, text, ErrWrongFormat) })
	}
}

func manyKeys(n int) string {
	var b strings.Builder
	for i := range n {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString(`"k`)
		b.WriteString(strings.Repeat("0", i/10))
		b.WriteByte(byte('0' + i%10))
		b.WriteString(`":0`)
	}
	return b.String() + `,"k50":0`
}

// Brackets in strings are no nesting, and the limit is the limit.
func TestDepth(t *testing.T) {
	nested := func(n int) string { // the message and the action are two levels
		return `["sync",1,{"type":"a","x":` + strings.Repeat("[", n-2) + strings.Repeat("]", n-2) + `},{"id":1,"time":1}]`
	}
	var m Message
	for _, limit := range []int{0, 3, 4, 64, 100, 1000} {
		d := Decoder{MaxDepth: limit}
		if limit == 0 {
			limit = 64
		}
		if err := d.Decode([]byte(nested(limit)), &m); err != nil {
			t.Errorf("limit %d: %v", limit, err)
		}
		if d.Decode([]byte(nested(limit+1)), &m) == nil {
			t.Errorf("limit %d: accepted one level more", limit)
		}
	}
	accepted(t, `["sync",1,{"type":"`+strings.Repeat(`[{`, 100)+`","x":"`+strings.Repeat(`\"[\\`, 200)+`"},{"id":1,"time":1}]`)
	accepted(t, `["sync",1,{"type":"a","x":[`+strings.Repeat(`[{}],`, 100)+`[]]},{"id":1,"time":1}]`)
	refused(t, `["sync",1,{"type":"a","x":"\\",`+`"y":`+strings.Repeat(`[`, 100)+strings.Repeat(`]`, 100)+`},{"id":1,"time":1}]`, ErrWrongFormat)
}

// What looks like the keys and numbers that some language cannot read, and is not.
func TestPortable(t *testing.T) {
	for _, value := range []string{
		`"\u0000a"`, `["\u0000a",{"a":"\u0000","b\u0000":["\u0000"]}]`, `{"a":{"\\u0000":1}}`, strings.Repeat("1", 4300), `-` + strings.Repeat("1", 4300), `0.` + strings.Repeat("1", 9000),
		strings.Repeat("1", 4301) + `.0`, strings.Repeat("1", 4301) + `e0`, strings.Repeat("1", 4301) + `E0`, `"` + strings.Repeat("1", 20_000) + `"`, `{"` + strings.Repeat("1", 4301) + `":1}`,
	} {
		body := `{"type":"a","x":` + value + `}`
		m := accepted(t, `["sync",1,`+body+`,{"id":1,"time":1},{"t\u0079pe":"\u0062"},{"id":2,"time":1}]`)
		if string(m.Pairs[0].Body) != body || string(m.Pairs[0].ActionType) != "a" || string(m.Pairs[1].ActionType) != "b" {
			t.Errorf("%.80s became %.200s of type %s", body, m.Pairs[0].Body, m.Pairs[0].ActionType)
		}
	}
	// Wherever it begins, among whatever.
	for before := range 50 {
		text := []byte(strings.Repeat("1,", before*97) + strings.Repeat("1", maxDigits))
		if longDigits(text) {
			t.Errorf("%d digits after %d bytes are too many", maxDigits, before*97*2)
		}
		if !longDigits(append(text, '1')) || !longDigits(append(text, "1,1"...)) {
			t.Errorf("%d digits after %d bytes are not seen", maxDigits+1, before*97*2)
		}
	}
}

// What JSON parsers are known to differ in, after the n_ cases of "Parsing JSON is a
// Minefield": no JSON, so not accepted as a value inside of an action, nor as a message.
func TestNotJSON(t *testing.T) {
	for _, value := range []string{
		`[1 true]`, "[a\xe5]", `["": 1]`, `[""],`, `[,1]`, `[1,,2]`, `["x",,]`, `["x"]]`, `["",]`, `["x"`, `[x`, `[3[4]]`, "[\xff]", `[1:2]`, `[,]`, `[-]`, `[   , ""]`,
		"[\"a\",\n4\n,1,", `[1,]`, "[\"\va\"\\f]", `[*]`, `[""`, `[1,`, "[1,\n1\n,1", `[{}`, `[fals]`, `[nul]`, `[tru]`, "[123\x00]",
		`[++1234]`, `[+1]`, `[+Inf]`, `[-01]`, `[-1.0.]`, `[-2.]`, `[-NaN]`, `[.-1]`, `[.2e-3]`, `[0.1.2]`, `[0.3e+]`, `[0.3e]`, `[0.e1]`, `[0E+]`, `[0E]`, `[0e+]`, `[0e]`,
		`[1.0e+]`, `[1.0e-]`, `[1.0e]`, `[1 000.0]`, `[1eE2]`, `[2.e+3]`, `[2.e-3]`, `[2.e3]`, `[9.e+]`, `[Inf]`, `[NaN]`, "[\uff11]", `[1+2]`, `[0x1]`, `[0x42]`, `[Infinity]`,
		`[0e+-1]`, `[-123.123foo]`, "[123\xe5]", "[1e1\xe5]", "[0\xe5]", `[-Infinity]`, `[-foo]`, `[- 1]`, `[-012]`, `[-.123]`, `[-1x]`, `[1ea]`, "[1e\xe5]", `[1.]`, `[.123]`, `[1.2a-3]`,
		`[1.8011670033376514H-308]`, `[012]`, `["x", truth]`, `{[: "x"}`, `{"x", null}`, `{"x"::"b"}`, "{\U0001f1e8\U0001f1ed}", `{"a":"a" 123}`, `{key: 'value'}`,
		"{\"\xb9\":\"0\",}", `{"a" b}`, `{:"b"}`, `{"a" "b"}`, `{"a":`, `{"a"`, `{1:1}`, `{9999E9999:1}`, `{null:null,null:null}`, `{"id":0,,,,,}`, `{'a':0}`, `{"id":0,}`,
		`{"a":"b"}/**/`, `{"a":"b"}/**//`, `{"a":"b"}//`, `{"a":"b"}/`, `{"a":"b",,"c":"d"}`, `{a: "b"}`, `{"a":"a`, `{ "foo" : "bar", "a" }`, `{"a":"b"}#`,
		` `, `["\uD800\"]`, `["\uD800\u"]`, `["\uD800\u1"]`, `["\uD800\u1x"]`, "[\u00e9]", "[\"\\\x00\"]", `["\x00"]`, `["\\\"]`, "[\"\\\t\"]", "[\"\\\U0001f300\"]", `["\"]`, `["\u00A"]`, `["\`,
		`["\uD834\uDd"]`, `["\uD800\uD800\x"]`, "[\"\\u\xe5\"]", `["\a"]`, `["\uqqqq"]`, "[\"\\\xe5\"]", `[\u0020"asd"]`, `[\n]`, `"`, `['single quote']`, `abc`, `["\`, "[\"a\x00a\"]", "[\"new\nline\"]", "[\"\t\"]",
		`"\UA66D"`, `""x`, "\ufeff", `<.>`, `[<null>]`, `[1]x`, `[1]]`, `["asd]`, "a\u00e5", `[True]`, `1]`, `{"x": true,`, `[][]`, `]`, "\xef\xbb{}", "\xe5", `[`, ``, "[\x00]", `2@`, `{}}`, `{"":`, `{"a":/*comment*/"b"}`,
		`{"a": true} "x"`, `['`, `[,`, `[{`, `["a`, `["a"`, `{`, `{]`, `{,`, `{[`, `{"a`, `{'a'`, `["\{["\{["\{["\{`, "\xe9", `*`, `{"a":"b"}#{}`, "[\u2060]", `[\u000A""]`, `["a",` + "\n" + `4`, "\u00e5", `[1`, `[ false, nul`,
		`[ true, fals`, `[ false, tru`, `{"asd":"asd"`, "\u2060", "\f[]", `[` + "\f" + `]`, `{"a":{"b":1}`, `{"a":1]`, `[1}`,
	} {
		refused(t, `["sync",1,{"type":"a","x":`+value+`},{"id":1,"time":1}]`, ErrWrongFormat)
		refused(t, `["headers",{"x":`+value+`}]`, ErrWrongFormat)
		refused(t, value, ErrWrongFormat)
		if _, fault := DecodeControl([]byte(`{"version":4,"secret":"s","commands":[],"x":`+value+`}`), 0); fault != ControlWrongFormat {
			t.Errorf("control body with %q: %q", value, fault)
		}
	}
}

// What every JSON parser must accept, after the y_ cases of the same work (but for duplicate
// keys, which are refused here): it is accepted inside of an action and passes byte for byte.
func TestJSON(t *testing.T) {
	for _, value := range []string{
		`[[]   ]`, `[""]`, `[]`, `["a"]`, `[false]`, `[null, 1, "1", {}]`, `[null]`, "[1\n]", ` [1]`, `[1,null,null,null,2]`, `[2] `, `[123e65]`, `[0e+1]`, `[0e1]`, `[ 4]`,
		`[-0.000000000000000000000000000000000000000000000000000000000000000000000000000001]`, `[20e1]`, `[-0]`, `[-123]`, `[-1]`, `[1E22]`, `[1E-2]`, `[1E+2]`, `[123e45]`, `[123.456e78]`, `[1e-2]`, `[1e+2]`, `[123]`, `[123.456789]`,
		`{"asd":"sdf", "dfg":"fgh"}`, `{"asd":"sdf"}`, `{}`, `{"":0}`, `{"foo\u0000bar": 42}`, `{ "min": -1.0e+28, "max": 1.0e+28 }`, `{"x":[{"id": "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"}], "id": "x"}`, `{"a":[]}`,
		`{"title":"\u041f\u043e\u043b\u0442\u043e\u0440\u0430" }`, "{\n\"a\": \"b\"\n}", `["\u0060\u012a\u12AB"]`, `["\uD801\udc37"]`, `["\ud83d\ude39\ud83d\udc8d"]`, `["\"\\\/\b\f\n\r\t"]`, `["\\u0000"]`, `["\""]`,
		`["a/*b*/c/*d//e"]`, `["\\a"]`, `["\\n"]`, `["\u0012"]`, `["\uFFFF"]`, `["asd"]`, `[ "asd"]`, `["\uDBFF\uDFFF"]`, `["new\u00A0line"]`, "[\"\U0010ffff\"]", "[\"\uffff\"]", `["\u0000"]`, `["\u002c"]`, "[\"\u03c0\"]",
		"[\"\U0001bfff\"]", `["asd "]`, `" "`, `["\uD834\uDd1e"]`, `["\u0821"]`, `["\u0123"]`, "[\"\u2028\"]", "[\"\u2029\"]", `["\u0061\u30af\u30EA\u30b9"]`, "[\"new\u00a0line\"]", `["\uA66D"]`, `["\u005C"]`, "[\"\u2342\u3234\u2342\"]",
		`["\uDBFF\uDFFE"]`, `["\u200B"]`, `["\u2064"]`, `["\uFDD0"]`, `["\uFFFE"]`, `["\u0022"]`, "[\"\u20ac\U0001d11e\"]", "[\"a\u007fa\"]", `false`, `42`, `-0.1`, `null`, `"asd"`, `true`, `""`, "[\"a\"]\n", `[true]`, "\t[] ",
		`1e400`, `-1e-400`, `123456789012345678901234567890`, `0.1000000000000000055511151231257827`, `-0`, `-0.0`, `1.0`, `1E+0`, // numbers are for the back-end to read
	} {
		body := `{"type":"a","x":` + value + `}`
		if got := string(accepted(t, `["sync",1,`+body+`,{"id":1,"time":1}]`).Pairs[0].Body); got != body {
			t.Errorf("body %s became %s", body, got)
		}
		headers := `{"x":` + value + `}`
		if got := string(accepted(t, `["headers",`+headers+`]`).Headers); got != headers {
			t.Errorf("headers %s became %s", headers, got)
		}
	}
}
