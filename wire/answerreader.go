package wire

import (
	"bufio"
	"errors"
	"fmt"
	"io"

	"github.com/go-json-experiment/json/jsontext"
)

// AnswerLimits bound what a back-end's response may make us hold. 0 means the default.
type AnswerLimits struct {
	Element int64 // bytes of one element [10 MiB]
	Total   int64 // bytes of the response [64 MiB]
	Depth   int   // nesting of one element [64]
}

func (l AnswerLimits) defaults() AnswerLimits {
	if l.Element <= 0 {
		l.Element = 10 << 20
	}
	if l.Total <= 0 {
		l.Total = 64 << 20
	}
	if l.Depth <= 0 {
		l.Depth = defaultDepth
	}
	return l
}

// What can be wrong with a response as a whole. An error that is none of them is the reader's own.
var (
	// ErrEmptyAnswer is a response without one byte of JSON.
	ErrEmptyAnswer = errors.New("the response is empty")
	// ErrTooLarge is a response over one of the AnswerLimits.
	ErrTooLarge = errors.New("the response is over a limit")
	// ErrMalformed is a response that is not JSON or not an array. One that ended before its
	// closing bracket is io.ErrUnexpectedEOF as well.
	ErrMalformed = errors.New("the response is malformed")
)

// An AnswerReader reads the array of answers from a response while it arrives: Next returns an
// answer as soon as its last byte is there.
type AnswerReader struct {
	version int
	guard   guard
	stream  *jsontext.Decoder
	scan    scanner
	started bool
	err     error // the last, to be given again
}

// NewAnswerReader reads answers from r. Objects and arrays are accepted in every version.
func NewAnswerReader(r io.Reader, version int, limits AnswerLimits) *AnswerReader {
	a := &AnswerReader{version: version}
	limits = limits.defaults()
	a.guard = guard{from: bufio.NewReader(r), limits: limits, nesting: nesting{limit: limits.Depth + 1}} // the array itself counts
	// What makes one element unusable (two keys of one name, bad UTF-8) is found when that
	// element is decoded, so that the answers after it can still be read.
	a.stream = jsontext.NewDecoder(&a.guard, jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true))
	return a
}

// Next returns the next answer. It returns io.EOF after the array's closing bracket (what follows
// it is not read), ErrEmptyAnswer for a response without one byte of JSON, and another error for
// what is not an array, broken off, not JSON or over a limit. An element of a wrong shape is no
// error but an AnswerUnknown. After an error it returns that error again.
func (r *AnswerReader) Next() (Answer, error) {
	if r.err != nil {
		return Answer{}, r.err
	}
	raw, err := r.element()
	if err != nil {
		r.err = err
		return Answer{}, err
	}
	return r.scan.decodeAnswer(raw, r.version), nil
}

// Arrived reports whether the array is here up to its closing bracket: Next will not wait any more.
func (r *AnswerReader) Arrived() bool {
	if !r.started {
		return false
	}
	nesting := r.guard.nesting
	ahead, _ := r.guard.from.Peek(r.guard.from.Buffered()) // what is buffered is there
	for _, c := range ahead {
		if nesting.depth <= 0 {
			break
		}
		nesting.step(c)
	}
	return nesting.depth <= 0
}

// element returns the text of the next element, valid until the next call.
func (r *AnswerReader) element() (RawJSON, error) {
	if !r.started {
		r.started = true
		token, err := r.stream.ReadToken()
		switch {
		case errors.Is(err, io.EOF) && r.guard.err == nil:
			return nil, ErrEmptyAnswer
		case err != nil:
			return nil, r.fault(err)
		case token.Kind() != jsontext.KindBeginArray:
			return nil, fmt.Errorf("wire: reading answers: %w: it is no array", ErrMalformed)
		}
	}
	if r.stream.PeekKind() == jsontext.KindEndArray {
		return nil, io.EOF
	}
	v, err := r.stream.ReadValue()
	if err != nil {
		return nil, r.fault(err)
	}
	return RawJSON(v), nil
}

// fault says why the stream ended: because of what the guard met, or too early, or because of its
// text.
func (r *AnswerReader) fault(err error) error {
	switch {
	case r.guard.err != nil && errors.Is(err, r.guard.err):
		return r.guard.err
	case errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF):
		return fmt.Errorf("wire: reading answers: %w: %w", ErrMalformed, io.ErrUnexpectedEOF)
	}
	return fmt.Errorf("wire: reading answers: %w: %w", ErrMalformed, err)
}

// A guard passes a response on and stops at the byte that goes over a limit, so that the tokenizer
// never holds more than a limit allows.
type guard struct {
	from    *bufio.Reader
	limits  AnswerLimits
	nesting nesting
	total   int64
	element int64 // bytes since the last comma between two elements
	err     error // what ended the response, unless it simply ended
}

// Read implements io.Reader.
func (g *guard) Read(p []byte) (int, error) {
	if g.err != nil {
		return 0, g.err
	}
	n, err := g.from.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		g.err = fmt.Errorf("wire: reading answers: %w", err)
	}
	for i, c := range p[:n] {
		if err := g.step(c); err != nil {
			g.err = fmt.Errorf("wire: reading answers: %w", err)
			n = i
			break
		}
	}
	if n > 0 {
		return n, nil // err comes again, or waits in g.err
	}
	if g.err != nil {
		return 0, g.err
	}
	return 0, err
}

func (g *guard) step(c byte) error {
	g.total++
	g.element++
	if g.nesting.depth == 1 && !g.nesting.inString && c == ',' {
		g.element = 0
	}
	g.nesting.step(c)
	switch {
	case g.total > g.limits.Total:
		return fmt.Errorf("%w: more than %d bytes", ErrTooLarge, g.limits.Total)
	case g.element > g.limits.Element:
		return fmt.Errorf("%w: an answer of more than %d bytes", ErrTooLarge, g.limits.Element)
	case g.nesting.depth > g.nesting.limit:
		return fmt.Errorf("%w: an answer nested deeper than %d", ErrTooLarge, g.limits.Depth)
	}
	return nil
}
