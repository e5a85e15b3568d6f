package main

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"go.uber.org/zap/zapcore"
)

// hintKey is the field that the human form shows as a note under the others: what to do now.
const hintKey = "hint"

// A humanCore writes entries for a person at a terminal: a label, the message and the time on one
// line, and under it the fields, one a line.
//
//	INFO   Client was connected at 2026-11-22 10:00:00
//	       Node ID:    10:uuid:tab
//	       IP address: 127.0.0.1
type humanCore struct {
	zapcore.LevelEnabler
	out    zapcore.WriteSyncer
	color  bool
	fields []zapcore.Field
}

func newHumanCore(out zapcore.WriteSyncer, level zapcore.LevelEnabler, color bool) *humanCore {
	return &humanCore{LevelEnabler: level, out: out, color: color}
}

// With implements zapcore.Core.
func (h *humanCore) With(fields []zapcore.Field) zapcore.Core {
	with := *h
	with.fields = append(slices.Clip(h.fields), fields...)
	return &with
}

// Check implements zapcore.Core.
func (h *humanCore) Check(e zapcore.Entry, ce *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if h.Enabled(e.Level) {
		return ce.AddCore(e, h)
	}
	return ce
}

// Sync implements zapcore.Core.
func (h *humanCore) Sync() error { return h.out.Sync() }

// Write implements zapcore.Core.
func (h *humanCore) Write(e zapcore.Entry, fields []zapcore.Field) error {
	p := humanPrinter{color: h.color}
	p.headline(e)
	p.params(append(slices.Clip(h.fields), fields...))
	p.out.WriteByte('\n')
	_, err := h.out.Write([]byte(p.out.String()))
	return err
}

// ANSI styles.
const (
	bold   = "1"
	dim    = "2"
	red    = "31"
	green  = "32"
	yellow = "33"
	gray   = "90"
)

const humanIndent = "        "

// A humanPrinter writes one entry.
type humanPrinter struct {
	out   strings.Builder
	color bool
}

func (p *humanPrinter) styled(text string, styles ...string) {
	if p.color {
		p.out.WriteString("\x1b[" + strings.Join(styles, ";") + "m")
	}
	writePrintable(&p.out, text)
	if p.color {
		p.out.WriteString("\x1b[0m")
	}
}

func (p *humanPrinter) headline(e zapcore.Entry) {
	label, color, background := " INFO ", green, "30;42"
	switch {
	case e.Level < zapcore.InfoLevel:
		label, color, background = " DEBUG ", gray, "30;47"
	case e.Level == zapcore.WarnLevel:
		label, color, background = " WARN ", yellow, "30;43"
	case e.Level == zapcore.ErrorLevel:
		label, color, background = " ERROR ", red, "37;41"
	case e.Level > zapcore.ErrorLevel:
		label, color, background = " FATAL ", red, "37;41"
	}
	p.styled(label, background)
	p.out.WriteString(strings.Repeat(" ", len(humanIndent)-len(label)))
	p.styled(e.Message, bold, color)
	p.out.WriteByte(' ')
	p.styled("at "+e.Time.Format(time.DateTime), dim)
	p.out.WriteByte('\n')
}

// params writes the fields, their values in one column, and the hint last.
func (p *humanPrinter) params(fields []zapcore.Field) {
	type param struct {
		name  string
		value any
	}
	var params []param
	var hint string
	width := 0
	for _, f := range fields {
		enc := zapcore.NewMapObjectEncoder()
		f.AddTo(enc)
		value, found := enc.Fields[f.Key]
		if !found {
			continue
		}
		if f.Key == hintKey {
			hint = fmt.Sprint(value)
			continue
		}
		name := humanName(f.Key)
		width = max(width, utf8.RuneCountInString(name))
		params = append(params, param{name, value})
	}
	for _, v := range params {
		p.out.WriteString(humanIndent)
		writePrintable(&p.out, v.name)
		p.out.WriteString(": " + strings.Repeat(" ", width-utf8.RuneCountInString(v.name)))
		p.value(v.value, true)
		p.out.WriteByte('\n')
	}
	for line := range strings.Lines(wrap(hint, 80-len(humanIndent))) {
		p.out.WriteString(humanIndent)
		p.styled(strings.TrimSuffix(line, "\n"), gray)
		p.out.WriteByte('\n')
	}
}

// value writes strings in quotes unless they stand alone.
func (p *humanPrinter) value(value any, alone bool) {
	switch v := value.(type) {
	case string:
		if alone {
			p.styled(v, bold)
			return
		}
		p.out.WriteByte('"')
		p.styled(v, bold)
		p.out.WriteByte('"')
	case []any:
		p.out.WriteByte('[')
		for i, element := range v {
			if i > 0 {
				p.out.WriteString(", ")
			}
			p.value(element, false)
		}
		p.out.WriteByte(']')
	case map[string]any:
		p.out.WriteString("{ ")
		keys := make([]string, 0, len(v))
		for key := range v {
			keys = append(keys, key)
		}
		slices.Sort(keys)
		for i, key := range keys {
			if i > 0 {
				p.out.WriteString(", ")
			}
			writePrintable(&p.out, key)
			p.out.WriteString(": ")
			p.value(v[key], false)
		}
		p.out.WriteString(" }")
	case time.Duration:
		p.styled(humanDuration(v), bold)
	case time.Time:
		p.styled(v.Format(time.DateTime), bold)
	case float64:
		p.styled(strconv.FormatFloat(v, 'g', 6, 64), bold)
	case bool, int, int8, int16, int32, int64, uint, uint8, uint16, uint32, uint64, uintptr, float32:
		p.styled(fmt.Sprint(v), bold)
	default:
		text, err := json.Marshal(v)
		if err != nil {
			text = []byte(err.Error())
		}
		p.styled(string(text), bold)
	}
}

// humanDuration keeps three digits.
func humanDuration(d time.Duration) string {
	for _, unit := range []time.Duration{time.Second, time.Millisecond, time.Microsecond} {
		if d >= unit {
			return d.Round(unit / 100).String()
		}
	}
	return d.String()
}

// humanName turns a key into words: nodeId is "Node ID", ip_address is "IP address".
func humanName(key string) string {
	var words []string
	word := ""
	end := func() {
		switch word {
		case "":
			return
		case "id", "ip", "url", "tls", "pid":
			word = strings.ToUpper(word)
		}
		words = append(words, word)
		word = ""
	}
	upper := false
	for _, r := range key {
		switch {
		case r == '_' || r == '-' || r == ' ':
			end()
			continue
		case unicode.IsUpper(r) && !upper:
			end()
		}
		upper = unicode.IsUpper(r)
		word += string(unicode.ToLower(r))
	}
	end()
	name := strings.Join(words, " ")
	if name == "" {
		return key
	}
	first, size := utf8.DecodeRuneInString(name)
	return string(unicode.ToUpper(first)) + name[size:]
}

// wrap breaks text into lines of at most width bytes between words, and keeps its own new lines.
func wrap(text string, width int) string {
	var lines []string
	for line := range strings.Lines(text) {
		var row string
		for word := range strings.FieldsSeq(line) {
			if row != "" && len(row)+1+len(word) > width {
				lines = append(lines, row)
				row = ""
			}
			if row != "" {
				row += " "
			}
			row += word
		}
		lines = append(lines, row)
	}
	return strings.Join(lines, "\n")
}

// writePrintable writes text with everything escaped that a terminal would act on: new lines, ANSI
// sequences, direction marks, bytes that are no UTF-8.
func writePrintable(out *strings.Builder, text string) {
	for i, r := range text {
		switch {
		case r == utf8.RuneError && !strings.HasPrefix(text[i:], string(utf8.RuneError)):
			fmt.Fprintf(out, `\x%02x`, text[i])
		case unicode.IsPrint(r):
			out.WriteRune(r)
		default:
			escaped := strconv.QuoteRuneToASCII(r)
			out.WriteString(escaped[1 : len(escaped)-1])
		}
	}
}
