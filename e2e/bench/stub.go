package main

import (
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// A stub is a back-end that agrees to everything. It reads requests by looking for a few words,
// which is enough for what this program makes servers ask, and costs little beside them.
type stub struct {
	delay    time.Duration // before each response
	requests atomic.Int64
	commands atomic.Int64

	listener net.Listener
	server   http.Server
	buffers  sync.Pool
	done     sync.WaitGroup
}

// newStub starts a back-end that listens on address.
func newStub(ctx context.Context, address string, delay time.Duration) (*stub, error) {
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	s := &stub{delay: delay, listener: listener}
	s.buffers.New = func() any { return new(bytes.Buffer) }
	s.server.Handler = s
	s.server.ReadHeaderTimeout = time.Minute
	s.done.Go(func() { _ = s.server.Serve(listener) })
	return s, nil
}

func (s *stub) url() string { return "http://" + s.listener.Addr().String() + "/" }

func (s *stub) close() {
	_ = s.server.Close()
	s.done.Wait()
}

// ServeHTTP answers all commands of a request.
func (s *stub) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.requests.Add(1)
	in, out := s.buffers.Get().(*bytes.Buffer), s.buffers.Get().(*bytes.Buffer)
	defer s.buffers.Put(in)
	defer s.buffers.Put(out)
	in.Reset()
	out.Reset()
	if _, err := io.Copy(in, r.Body); err != nil {
		return
	}
	if s.delay > 0 {
		time.Sleep(s.delay)
	}
	answer, n := appendAnswers(out.AvailableBuffer(), in.Bytes())
	s.commands.Add(int64(n))
	out.Write(answer)
	w.Header()["Content-Type"] = contentType
	_, _ = w.Write(out.Bytes())
}

var (
	contentType   = []string{"application/json"}
	commandsStart = []byte(`"commands":[`)
	authCommand   = []byte(`"command":"auth"`)
	authIDStart   = []byte(`"authId":"`)
	metaStart     = []byte(`"meta":{`)
	idStart       = []byte(`"id":"`)
	publishAction = []byte(`"bench/pub"`)
	channelStart  = []byte(`"channel":"`)
)

// appendAnswers appends the array of answers to all commands in body, and returns how many there are.
func appendAnswers(dst, body []byte) (_ []byte, commands int) {
	dst = append(dst, '[')
	_, rest, _ := bytes.Cut(body, commandsStart)
	for command, rest := object(rest); command != nil; command, rest = object(rest) {
		if commands++; commands > 1 {
			dst = append(dst, ',')
		}
		if bytes.Contains(command, authCommand) {
			dst = append(dst, `{"answer":"authenticated","authId":"`...)
			dst = append(dst, text(command, authIDStart)...)
			dst = append(dst, `","subprotocol":"1.0.0"}`...)
			continue
		}
		_, meta, _ := bytes.Cut(command, metaStart)
		id := text(meta, idStart)
		if bytes.Contains(command, publishAction) {
			dst = appendAnswer(dst, "resend", id)
			dst = append(dst, `,"channels":["`...)
			dst = append(dst, text(command, channelStart)...)
			dst = append(dst, `"]},`...)
		}
		dst = append(appendAnswer(dst, "approved", id), "},"...)
		dst = append(appendAnswer(dst, "processed", id), '}')
	}
	return append(dst, ']'), commands
}

// object returns the object that text begins with, which a comma may precede, and what follows it. It is nil
// where text begins otherwise.
func object(text []byte) (object, rest []byte) {
	text = bytes.TrimLeft(text, ", \n\t\r")
	if len(text) == 0 || text[0] != '{' {
		return nil, text
	}
	depth, inString := 0, false
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case inString:
			if c == '\\' {
				i++
			}
			inString = c != '"'
		case c == '"':
			inString = true
		case c == '{':
			depth++
		case c == '}':
			if depth--; depth == 0 {
				return text[:i+1], text[i+1:]
			}
		}
	}
	return nil, nil
}

func appendAnswer(dst []byte, answer string, id []byte) []byte {
	dst = append(dst, `{"answer":"`...)
	dst = append(dst, answer...)
	dst = append(dst, `","id":"`...)
	dst = append(dst, id...)
	return append(dst, '"')
}

// text is what stands in s between start and the next quotation mark.
func text(s, start []byte) []byte {
	_, rest, _ := bytes.Cut(s, start)
	value, _, _ := bytes.Cut(rest, []byte{'"'})
	return value
}
