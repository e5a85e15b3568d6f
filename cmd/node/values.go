package main

import (
	"errors"
	"fmt"
	"math"
	"net/netip"
	"net/url"
	"reflect"
	"strconv"
	"strings"
	"time"

	"github.com/alecthomas/kong"
	"go.uber.org/zap/zapcore"
)

// A settingError is the one line an operator gets for a wrong setting. It never holds a secret.
type settingError struct {
	Setting string // the flag's name without dashes; "" when it is about no single one
	Wrong   string // what is wrong
	Mend    string // what to do
}

func (e *settingError) Error() string {
	text := e.Wrong + "; " + e.Mend
	if e.Setting == "" {
		return text
	}
	return fmt.Sprintf("%s (--%s) %s", envName(e.Setting), e.Setting, text)
}

// envName is the environment variable of a flag.
func envName(flag string) string {
	return envPrefix + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))
}

// valueMappers teach kong to read each type of a Config's field.
func valueMappers() []kong.Option {
	return []kong.Option{
		valueMapper(parseText),
		valueMapper(parseNumber),
		valueMapper(parseBool),
		valueMapper(parseDuration),
		valueMapper(parseSize),
		valueMapper(parseRatio),
		valueMapper(parseList),
		valueMapper(parseSecrets),
		valueMapper(parseNetworks),
		valueMapper(parseURL),
		valueMapper(parseRedis),
		valueMapper(parseGossipKeys),
		valueMapper(parseLevel),
	}
}

// valueMapper makes parse the reader of all settings of type T. parse returns a *settingError
// without Setting, or any other error to say only that the value is unreadable.
func valueMapper[T any](parse func(text string, tag *kong.Tag) (T, error)) kong.Option {
	return kong.TypeMapper(reflect.TypeFor[T](), kong.MapperFunc(func(ctx *kong.DecodeContext, target reflect.Value) error {
		// A token is never shown in a message of kong's: it may be a secret.
		text, given := "", false
		if token := ctx.Scan.Peek(); target.Kind() == reflect.Bool && token.Type != kong.FlagValueToken {
			text, given = "true", true
		} else if token.IsValue() {
			text, given = fmt.Sprint(ctx.Scan.Pop().Value), true
		}
		wrong := &settingError{Wrong: "has no value", Mend: "write it as --" + ctx.Value.Name + "=VALUE (and --help shows all settings)"}
		if given {
			value, err := parse(text, ctx.Value.Tag)
			if err == nil {
				target.Set(reflect.ValueOf(value))
				return nil
			}
			if !errors.As(err, &wrong) {
				wrong = &settingError{Wrong: "is unreadable", Mend: "see --help"}
			}
		}
		wrong.Setting = ctx.Value.Name
		return wrong
	}))
}

func parseText(text string, tag *kong.Tag) (string, error) {
	allowed := tag.Get("oneof")
	if allowed == "" || text == "" {
		return text, nil
	}
	names := strings.Split(allowed, ",")
	for _, name := range names {
		if strings.EqualFold(text, name) {
			return name, nil
		}
	}
	return "", &settingError{Wrong: "is " + quote(text), Mend: "use " + strings.Join(names, " or ")}
}

func parseNumber(text string, tag *kong.Tag) (int, error) {
	return inRange(text, tag, "a whole number", func(s string) (int, error) {
		return strconv.Atoi(strings.ReplaceAll(s, "_", ""))
	})
}

func parseBool(text string, _ *kong.Tag) (bool, error) {
	switch strings.ToLower(text) {
	case "true", "1", "yes", "on":
		return true, nil
	case "false", "0", "no", "off":
		return false, nil
	}
	return false, &settingError{Wrong: "is " + quote(text), Mend: "use true or false"}
}

// parseDuration wants a unit: a bare number is milliseconds to some and seconds to others.
func parseDuration(text string, tag *kong.Tag) (time.Duration, error) {
	return inRange(text, tag, "a time with its unit (such as 500ms, 30s or 2m)", time.ParseDuration)
}

func parseSize(text string, tag *kong.Tag) (byteSize, error) {
	return inRange(text, tag, "a size (such as 64KiB, 1MB or 1048576)", sizeOf)
}

func parseRatio(text string, tag *kong.Tag) (ratio, error) {
	return inRange(text, tag, "a number", func(s string) (ratio, error) {
		n, err := strconv.ParseFloat(s, 64)
		if math.IsNaN(n) {
			err = strconv.ErrSyntax
		}
		return ratio(n), err
	})
}

// inRange parses text and holds it against the tag "range".
func inRange[N int | byteSize | time.Duration | ratio](text string, tag *kong.Tag, what string, parse func(string) (N, error)) (N, error) {
	low, high, limited := strings.Cut(tag.Get("range"), "..")
	mend := "use " + what
	if limited {
		mend += " from " + low + " to " + high
	}
	n, err := parse(strings.TrimSpace(text))
	if err != nil {
		return 0, &settingError{Wrong: "is " + quote(text) + ", which is not " + what, Mend: mend}
	}
	if limited {
		least, err := parse(low)
		if err != nil {
			return 0, err
		}
		most, err := parse(high)
		if err != nil {
			return 0, err
		}
		if n < least || n > most {
			return 0, &settingError{Wrong: "is " + quote(text), Mend: mend}
		}
	}
	return n, nil
}

// sizeUnits from the longest name on, so that a suffix is found whole.
var sizeUnits = []struct {
	name  string
	bytes int64
}{
	{"KIB", 1 << 10}, {"MIB", 1 << 20}, {"GIB", 1 << 30},
	{"KB", 1e3}, {"MB", 1e6}, {"GB", 1e9}, {"B", 1},
}

func sizeOf(text string) (byteSize, error) {
	number, unit := strings.ToUpper(text), int64(1)
	for _, u := range sizeUnits {
		if rest, found := strings.CutSuffix(number, u.name); found {
			number, unit = strings.TrimSpace(rest), u.bytes
			break
		}
	}
	n, err := strconv.ParseInt(number, 10, 64)
	if err != nil {
		return 0, err
	}
	if n < 0 || n > (1<<62)/unit {
		return 0, strconv.ErrRange
	}
	return byteSize(n * unit), nil
}

// parseList splits at commas and leaves empty elements out.
func parseList(text string, _ *kong.Tag) ([]string, error) {
	var list []string
	for part := range strings.SplitSeq(text, ",") {
		if part = strings.TrimSpace(part); part != "" {
			list = append(list, part)
		}
	}
	return list, nil
}

func parseSecrets(text string, _ *kong.Tag) (secrets, error) {
	list, err := parseList(text, nil)
	return secrets(list), err
}

func parseNetworks(text string, _ *kong.Tag) ([]netip.Prefix, error) {
	list, err := parseList(text, nil)
	if err != nil {
		return nil, err
	}
	networks := make([]netip.Prefix, 0, len(list))
	for _, part := range list {
		network, err := netip.ParsePrefix(part)
		if err != nil {
			address, addressErr := netip.ParseAddr(part)
			if addressErr != nil || address.Zone() != "" {
				return nil, &settingError{Wrong: "holds " + quote(part) + ", which is no address range", Mend: "use CIDRs with commas, such as 10.0.0.0/8,192.168.1.7"}
			}
			network = netip.PrefixFrom(address, address.BitLen())
		}
		networks = append(networks, network.Masked())
	}
	return networks, nil
}

// parseURL keeps the text out of its messages: a URL may hold a password.
func parseURL(text string, tag *kong.Tag) (*url.URL, error) {
	mend := "write it as " + tag.Get("example")
	u, err := url.Parse(strings.TrimSpace(text))
	switch {
	case err != nil:
		return nil, &settingError{Wrong: "is no URL", Mend: mend}
	case u.Scheme != "http" && u.Scheme != "https":
		return nil, &settingError{Wrong: "has to begin with http:// or https://", Mend: mend}
	case u.Hostname() == "":
		return nil, &settingError{Wrong: "names no host", Mend: mend}
	case u.Fragment != "":
		return nil, &settingError{Wrong: "has a fragment (#…), which no server ever sees", Mend: mend}
	}
	if port := u.Port(); port != "" {
		if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
			return nil, &settingError{Wrong: "has the port " + quote(port), Mend: "use a port from 1 to 65535"}
		}
	}
	return u, nil
}

func parseLevel(text string, _ *kong.Tag) (zapcore.Level, error) {
	switch strings.ToLower(text) {
	case "debug":
		return zapcore.DebugLevel, nil
	case "info":
		return zapcore.InfoLevel, nil
	case "warn", "warning":
		return zapcore.WarnLevel, nil
	case "error":
		return zapcore.ErrorLevel, nil
	}
	return 0, &settingError{Wrong: "is " + quote(text), Mend: "use debug, info, warn or error"}
}

// quote shows a wrong value, on one line and not too much of it.
func quote(text string) string {
	const most = 60
	if runes := []rune(text); len(runes) > most {
		text = string(runes[:most]) + "…"
	}
	return strconv.Quote(text)
}
