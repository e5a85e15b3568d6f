package wire

import (
	"math/big"
	"strings"
	"testing"
	"testing/quick"

	"github.com/go-json-experiment/json/jsontext"
)

func TestParseNumber(t *testing.T) {
	for _, test := range []struct {
		text  string
		floor int64
		whole bool
		ok    bool
	}{
		{"0", 0, true, true},
		{"-0", 0, true, true},
		{"-0.0e5", 0, true, true},
		{"0e99999999999999999999", 0, true, true},
		{"5.0", 5, true, true},
		{"1e3", 1000, true, true},
		{"1.5e1", 15, true, true},
		{"12345e-2", 123, false, true},
		{"-12345e-2", -124, false, true},
		{"12300E-2", 123, true, true},
		{"1e-400", 0, false, true},
		{"-1e-400", -1, false, true},
		{"1e-99999999999999999999", 0, false, true},
		{"-1e-99999999999999999999", -1, false, true},
		{"9007199254740992", 1 << 53, true, true},
		{"-9007199254740992", -1 << 53, true, true},
		{"9007199254740992.0", 1 << 53, true, true},
		{"90071992547409920e-1", 1 << 53, true, true},
		{"9007199254740991.999999999999999999999999", 1<<53 - 1, false, true},
		{"-9007199254740991.5", -1 << 53, false, true},
		{"9007199254740992.000000000000000000000000001", 0, false, false},
		{"9007199254740993", 0, false, false},
		{"-9007199254740993", 0, false, false},
		{"18446744073709551616", 0, false, false},
		{"18446744073709551617e-1", 0, false, false},
		{"1e16", 0, false, false},
		{"1e400", 0, false, false},
		{"1e99999999999999999999", 0, false, false},
		{"0.000000000000000000001e21", 1, true, true},
		{"1000000000000000000000e-21", 1, true, true},
		{"1000000000000000000001e-21", 1, false, true},
		{"1" + strings.Repeat("0", 1000) + "e-1000", 1, true, true},
		{"0." + strings.Repeat("0", 1000) + "1e1001", 1, true, true},
	} {
		floor, whole, ok := parseNumber([]byte(test.text))
		if floor != test.floor || whole != test.whole || ok != test.ok {
			t.Errorf("%.60s: %d %v %v, want %d %v %v", test.text, floor, whole, ok, test.floor, test.whole, test.ok)
		}
	}
}

// FuzzNumber compares with exact rational arithmetic.
func FuzzNumber(f *testing.F) {
	for _, text := range []string{"0", "-1", "1e3", "-1.5e-2", "9007199254740993", "123456789012345678901e-5", "0.00001e5"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		v := jsontext.Value(text)
		if len(text) > 60 || !v.IsValid() || v.Kind() != jsontext.KindNumber || strings.TrimSpace(text) != text {
			return
		}
		if _, e, _ := strings.Cut(strings.ToLower(text), "e"); len(strings.TrimLeft(e, "+-0")) > 3 {
			return // big.Rat would write it out
		}
		want, ok := new(big.Rat).SetString(text)
		if !ok {
			t.Fatalf("%s is no number to math/big", text)
		}
		floor, whole, ok := parseNumber([]byte(text))
		inside := new(big.Rat).Abs(want).Cmp(new(big.Rat).SetInt64(maxInteger)) <= 0
		if ok != inside {
			t.Fatalf("%s: ok %v, want %v", text, ok, inside)
		}
		if !ok {
			return
		}
		if whole != want.IsInt() {
			t.Fatalf("%s: whole %v", text, whole)
		}
		// Euclidean division by a positive denominator rounds down.
		if got := new(big.Int).Div(want.Num(), want.Denom()); got.Int64() != floor {
			t.Fatalf("%s: floor %d, want %s", text, floor, got)
		}
	})
}

func TestParseDecimalIsCanonical(t *testing.T) {
	for _, text := range []string{"", "-", "+1", "-0", "00", "01", "-01", "1 ", " 1", "1.0", "1e1", "0x1", "1_0", "１", "1234567890123456789"} {
		if n, ok := parseDecimal(text, idDigits); ok {
			t.Errorf("%q is %d", text, n)
		}
	}
	same := func(n int64) bool {
		n %= 1e18
		id := FormatActionID(n, "38:a", -n)
		ms, node, counter, ok := ParseActionID(id)
		return ok && ms == n && node == "38:a" && counter == -n
	}
	if err := quick.Check(same, nil); err != nil {
		t.Error(err)
	}
}
