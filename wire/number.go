package wire

// maxInteger bounds the integers of both protocols: what a JavaScript number holds exactly.
const maxInteger = 1 << 53

// parseNumber reads a JSON number exactly, without the rounding of a float64. floor is the
// greatest integer that is not above it, whole says whether it is that integer (1e3 and 5.0 are),
// and ok is false outside of ±2^53. raw must be a valid JSON number.
func parseNumber(raw []byte) (floor int64, whole, ok bool) {
	if n, ok := parseDigits(raw); ok {
		return n, true, true
	}
	// The number is mantissa * 10^exponent, and a little more when rest.
	var mantissa uint64
	var exponent int64
	var negative, point, rest bool
	i := 0
scan:
	for ; i < len(raw); i++ {
		switch c := raw[i]; {
		case c == '-':
			negative = true
		case c == '.':
			point = true
		case c < '0' || c > '9':
			i++ // the e
			break scan
		default:
			if mantissa < 1e17 {
				mantissa = mantissa*10 + uint64(c-'0')
			} else {
				rest = rest || c != '0'
				exponent++
			}
			if point {
				exponent--
			}
		}
	}
	exponent += parseExponent(raw[i:])
	if mantissa == 0 {
		return 0, true, true
	}
	for ; exponent > 0 && mantissa <= maxInteger; exponent-- {
		mantissa *= 10
	}
	for ; exponent < 0 && mantissa > 0; exponent++ {
		rest = rest || mantissa%10 != 0
		mantissa /= 10
	}
	if mantissa > maxInteger || mantissa == maxInteger && rest {
		return 0, false, false
	}
	floor = int64(mantissa)
	if negative {
		floor = -floor
		if rest {
			floor--
		}
	}
	return floor, !rest, true
}

// parseExponent reads what follows the e. Beyond every number that has a place here it stops
// counting.
func parseExponent(raw []byte) int64 {
	const enough = 1 << 40
	var n int64
	negative := false
	for _, c := range raw {
		switch {
		case c == '-':
			negative = true
		case c >= '0' && c <= '9' && n < enough:
			n = n*10 + int64(c-'0')
		}
	}
	if negative {
		return -n
	}
	return n
}

// parseDigits reads what almost every number on the wire is: up to 15 digits, perhaps with a
// minus sign, written the one way that strconv writes them.
func parseDigits[T ~string | ~[]byte](text T) (n int64, ok bool) {
	return parseDecimal(text, 15)
}

// parseDecimal reads an integer of at most limit digits in its one canonical form: no plus sign,
// no leading zero, no -0.
func parseDecimal[T ~string | ~[]byte](text T, limit int) (n int64, ok bool) {
	i := 0
	if len(text) > 0 && text[0] == '-' {
		i = 1
	}
	digits := len(text) - i
	if digits == 0 || digits > limit || text[i] == '0' && len(text) > 1 {
		return 0, false
	}
	for _, c := range []byte(text[i:]) {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = n*10 + int64(c-'0')
	}
	if i == 1 {
		n = -n
	}
	return n, true
}
