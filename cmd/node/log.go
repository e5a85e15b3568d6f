package main

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// maxLogField is how many bytes of one field, or of the message, reach the log.
const maxLogField = 1024

// newLogger returns a logger of the configured form and level that writes to out. color matters to
// the human form only.
func newLogger(c *Config, out zapcore.WriteSyncer, color bool) *zap.Logger {
	if c.Logger == "human" {
		return zap.New(boundedCore{newHumanCore(out, c.LogLevel, color)}, zap.ErrorOutput(out))
	}
	encoder := zapcore.NewJSONEncoder(zapcore.EncoderConfig{
		TimeKey:    "time",
		LevelKey:   "level",
		MessageKey: "msg",
		NameKey:    "logger",
		LineEnding: "\n",
		EncodeTime: func(t time.Time, e zapcore.PrimitiveArrayEncoder) {
			e.AppendString(t.UTC().Format("2006-01-02T15:04:05.000Z"))
		},
		EncodeLevel:    zapcore.LowercaseLevelEncoder,
		EncodeDuration: zapcore.SecondsDurationEncoder,
	})
	return zap.New(boundedCore{zapcore.NewCore(encoder, out, c.LogLevel)}, zap.ErrorOutput(out))
}

// A boundedCore cuts long messages and fields: peers choose some of them.
type boundedCore struct{ zapcore.Core }

// With implements zapcore.Core.
func (b boundedCore) With(fields []zapcore.Field) zapcore.Core {
	return boundedCore{b.Core.With(bounded(fields))}
}

// Check implements zapcore.Core.
func (b boundedCore) Check(e zapcore.Entry, ce *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if b.Enabled(e.Level) {
		return ce.AddCore(e, b)
	}
	return ce
}

// Write implements zapcore.Core.
func (b boundedCore) Write(e zapcore.Entry, fields []zapcore.Field) error {
	e.Message = cut(e.Message, maxLogField)
	return b.Core.Write(e, bounded(fields))
}

// bounded returns fields with none above maxLogField. It copies only when it changes something.
func bounded(fields []zapcore.Field) []zapcore.Field {
	copied := false
	for i, f := range fields {
		short, changed := boundedField(f)
		if !changed {
			continue
		}
		if !copied {
			fields = append([]zapcore.Field(nil), fields...)
			copied = true
		}
		fields[i] = short
	}
	return fields
}

func boundedField(f zapcore.Field) (short zapcore.Field, changed bool) {
	switch f.Type {
	case zapcore.StringType:
		if len(f.String) <= maxLogField {
			return f, false
		}
		return zap.String(f.Key, cut(f.String, maxLogField)), true
	case zapcore.ByteStringType:
		text, isBytes := f.Interface.([]byte)
		if !isBytes || len(text) <= maxLogField {
			return f, false
		}
		return zap.String(f.Key, cut(string(text[:maxLogField+1]), maxLogField)), true
	case zapcore.ErrorType:
		err, isError := f.Interface.(error)
		if !isError {
			return f, false
		}
		return zap.String(f.Key, cut(textOf(err.Error), maxLogField)), true
	case zapcore.StringerType:
		stringer, isStringer := f.Interface.(fmt.Stringer)
		if !isStringer {
			return f, false
		}
		return zap.String(f.Key, cut(textOf(stringer.String), maxLogField)), true
	case zapcore.ArrayMarshalerType, zapcore.ObjectMarshalerType, zapcore.ReflectType:
		fields := zapcore.NewMapObjectEncoder()
		f.AddTo(fields)
		if text, err := json.Marshal(fields.Fields[f.Key]); err != nil || len(text) > maxLogField {
			return zap.String(f.Key, cut(string(text), maxLogField)), true
		}
	}
	return f, false
}

// textOf survives the nil pointers that zap itself survives in Error and String.
func textOf(text func() string) (s string) {
	defer func() {
		if recover() != nil {
			s = "<nil>"
		}
	}()
	return text()
}

// oneLine shows text on a single line, whatever is in it.
func oneLine(text string) string {
	var out strings.Builder
	writePrintable(&out, text)
	return out.String()
}
