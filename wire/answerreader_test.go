package wire

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"math/rand/v2"
	"runtime"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"
)

const someAnswers = ` [ {"answer":"resend","id":"1 38:a 0","channels":["a/\u00e9","b"],"users":[38]} ,["approved","1 38:a 0"],` +
	`{"answer":"action","id":"1 38:a 0","action":{"type":"x","s":"]},[{\"\\","n":[1.0,[]]},"meta":[]},` + "\n\t" +
	`{"answer":"unknown"}, 7 ,"]",null,{"answer":"processed","id":"1 38:a 0","é":"漢😀"}]`

// everything reads all answers and the error that ends them.
func everything(r *AnswerReader) (all []Answer, err error) {
	for {
		a, err := r.Next()
		if err != nil {
			return all, err
		}
		all = append(all, a)
	}
}

// A response cut after any byte gives the answers that were complete, and an error.
func TestAnswersCutAtEveryByte(t *testing.T) {
	want, err := everything(NewAnswerReader(strings.NewReader(someAnswers), 4, AnswerLimits{}))
	if !errors.Is(err, io.EOF) || len(want) != 8 {
		t.Fatalf("%d answers, %v", len(want), err)
	}
	seen := 0
	for n := range len(someAnswers) {
		text := someAnswers[:n]
		got, err := everything(NewAnswerReader(strings.NewReader(text), 4, AnswerLimits{}))
		switch {
		case strings.TrimSpace(text) == "":
			if !errors.Is(err, ErrEmptyAnswer) {
				t.Errorf("%q: %v", text, err)
			}
		case !errors.Is(err, ErrMalformed) || !errors.Is(err, io.ErrUnexpectedEOF):
			t.Errorf("%q: %v", text, err)
		}
		if len(got) < seen || len(got) > seen+1 {
			t.Fatalf("%q: %d answers after %d", text, len(got), seen)
		}
		seen = len(got)
		if diff := cmp.Diff(want[:seen:seen], got[:len(got):len(got)]); seen > 0 && diff != "" {
			t.Fatalf("%q (-want +got):\n%s", text, diff)
		}
	}
	if seen != len(want) {
		t.Errorf("only %d answers before the bracket", seen)
	}
}

// "the answer is a JSON array that must be parsed as it arrives, element by element": an answer is
// there with its last byte, and nothing after the closing bracket is read.
func TestAnswersAtOnce(t *testing.T) {
	elements := []string{
		`{"answer":"approved","id":"1 a 0"}`,
		`["approved","1 a 0"]`,
		`{"answer":"action","id":"1 a 0","action":{"type":"a","x":["}",{"]":"\""}]}}`,
		`"]"`,
		`null`,
		`{"answer":"processed","id":"1 a 0"}`,
	}
	from := &counter{from: iotest.OneByteReader(strings.NewReader("[" + strings.Join(elements, " ,\n") + " ]and more"))}
	r := NewAnswerReader(from, 4, AnswerLimits{})
	end := len("[")
	for _, element := range elements {
		end += len(element)
		if _, err := r.Next(); err != nil {
			t.Fatal(err)
		}
		if from.n != end {
			t.Errorf("%s: came after %d bytes, was complete after %d", element, from.n, end)
		}
		end += len(" ,\n")
	}
	for range 2 {
		if _, err := r.Next(); !errors.Is(err, io.EOF) {
			t.Errorf("after the bracket: %v", err)
		}
	}
	if want := end - len(" ,\n") + len(" ]"); from.n != want {
		t.Errorf("read %d bytes, the array has %d", from.n, want)
	}
}

// A counter counts the bytes read from another reader.
type counter struct {
	from io.Reader
	n    int
}

func (c *counter) Read(p []byte) (int, error) {
	n, err := c.from.Read(p)
	c.n += n
	return n, err
}

// PROTOCOL section 3, rule 6: "not JSON; empty".
func TestAnswersThatAreNone(t *testing.T) {
	for text, want := range map[string]error{
		"": ErrEmptyAnswer, " \r\n\t": ErrEmptyAnswer,
		"{}": ErrMalformed, "null": ErrMalformed, "1 ": ErrMalformed, `"a"`: ErrMalformed, `{"answer":"approved","id":"1"}`: ErrMalformed, "<html>": ErrMalformed, "]": ErrMalformed, ",": ErrMalformed,
		"\ufeff[]": ErrMalformed, "\x00[]": ErrMalformed, "[": ErrMalformed, "[,]": ErrMalformed, "[}": ErrMalformed, "[x]": ErrMalformed, "nul": ErrMalformed, `["a]`: ErrMalformed,
		`[{"answer":"approved","id":"1"},]`: ErrMalformed, `[{"answer":"approved","id":"1"}}`: ErrMalformed, `[{"answer":"approved","id":"1"} {}]`: ErrMalformed, `[{"answer" "approved"}]`: ErrMalformed,
		`[{"answer":"approved","id":"1"}<br>Warning`: ErrMalformed, `[{]}`: ErrMalformed, "[{\"answer\":\"a\x00\"}]": ErrMalformed, `[{"answer":"approved",}]`: ErrMalformed, `[-]`: ErrMalformed,
		"[]": io.EOF, " [ ] ": io.EOF, "[]x": io.EOF,
	} {
		r := NewAnswerReader(strings.NewReader(text), 4, AnswerLimits{})
		all, err := everything(r)
		if !errors.Is(err, want) {
			t.Errorf("%q: %v, want %v", text, err, want)
		}
		for _, a := range all {
			if a.ID != "1" {
				t.Errorf("%q: answer %+v", text, a)
			}
		}
		if _, again := r.Next(); !errors.Is(again, err) {
			t.Errorf("%q: %v after %v", text, again, err)
		}
	}
}

// A connection that breaks is told from a response that ends: its own error comes through.
func TestAnswersBrokenConnection(t *testing.T) {
	reset := errors.New("connection reset")
	for n := range len(someAnswers) {
		from := io.MultiReader(strings.NewReader(someAnswers[:n]), iotest.ErrReader(reset))
		all, err := everything(NewAnswerReader(from, 4, AnswerLimits{}))
		if !errors.Is(err, reset) || errors.Is(err, ErrMalformed) || errors.Is(err, ErrEmptyAnswer) {
			t.Fatalf("after %d bytes: %v", n, err)
		}
		whole, _ := everything(NewAnswerReader(strings.NewReader(someAnswers[:n]), 4, AnswerLimits{}))
		if len(all) != len(whole) && someAnswers[n-1] != '7' { // nobody knows whether more digits were to come
			t.Fatalf("after %d bytes: %d answers, want %d", n, len(all), len(whole))
		}
	}
}

// A repeating reader is a response without end.
type repeating struct {
	head, again string
	n           int
}

func (r *repeating) Read(p []byte) (int, error) {
	n := copy(p, r.head)
	r.head = r.head[n:]
	for n < len(p) {
		c := copy(p[n:], r.again[r.n%len(r.again):])
		n += c
		r.n += c
	}
	return n, nil
}

// What a back-end can make us hold is bounded, whatever it sends without end.
func TestAnswerLimits(t *testing.T) {
	limits := AnswerLimits{Element: 1 << 20, Total: 3 << 20, Depth: 10}
	const approved = `{"answer":"approved","id":"1"},`
	for name, test := range map[string]struct {
		from repeating
		all  int // answers before the limit
	}{
		"string":        {repeating{head: `[` + approved + `"`, again: "x"}, 1},
		"commas":        {repeating{head: `[` + approved + `"`, again: ","}, 1},
		"escapes":       {repeating{head: `[` + approved + `"`, again: `\u0000`}, 1},
		"id":            {repeating{head: `[` + approved + `{"answer":"processed","id":"`, again: "1"}, 1},
		"key":           {repeating{head: `[{"`, again: "x"}, 0},
		"members":       {repeating{head: `[{"a":1`, again: `,"a":1`}, 0},
		"elements":      {repeating{head: `[[1`, again: `,1`}, 0},
		"number":        {repeating{head: `[`, again: `1`}, 0},
		"white space":   {repeating{again: ` `}, 0},
		"white inside":  {repeating{head: `[`, again: " \n"}, 0},
		"white between": {repeating{head: `[` + approved, again: " "}, 1},
		"arrays":        {repeating{again: `[`}, 0},
		"objects":       {repeating{head: `[`, again: `{"a":`}, 0},
		"answers":       {repeating{head: `[`, again: approved}, 3<<20/len(approved) - 1},
	} {
		t.Run(name, func(t *testing.T) {
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			from := &counter{from: &test.from}
			r := NewAnswerReader(from, 4, limits)
			n := 0
			var err error
			for err == nil {
				var a Answer
				if a, err = r.Next(); err == nil {
					n++
					if a.ID != "1" {
						t.Fatalf("%+v", a)
					}
				}
			}
			runtime.ReadMemStats(&after)
			if !errors.Is(err, ErrTooLarge) {
				t.Errorf("ended with %v", err)
			}
			if n < test.all || n > test.all+1 {
				t.Errorf("%d answers, want %d", n, test.all)
			}
			if from.n > 2*int(limits.Total) {
				t.Errorf("read %d bytes", from.n)
			}
			// Doubling buffers allocate about four times what they hold in the end; of many small
			// answers each is garbage before the next.
			if held := after.TotalAlloc - before.TotalAlloc; test.all <= 1 && held > 6<<20 {
				t.Errorf("allocated %d bytes", held)
			}
		})
	}
}

func TestAnswerLimitsAreExact(t *testing.T) {
	const element = `{"answer":"approved","id":"1","x":[[1]]}` // nested three deep
	text := "[" + element + "," + element + "]"
	for _, test := range []struct {
		limits AnswerLimits
		all    int
	}{
		{AnswerLimits{}, 2},
		{AnswerLimits{Element: int64(len(element)) + 1, Total: int64(len(text)), Depth: 3}, 2},
		{AnswerLimits{Element: int64(len(element)) - 1}, 0},
		{AnswerLimits{Total: int64(len(text)) - 2}, 1},
		{AnswerLimits{Depth: 2}, 0},
	} {
		all, err := everything(NewAnswerReader(strings.NewReader(text), 4, test.limits))
		if len(all) != test.all || errors.Is(err, io.EOF) != (test.all == 2) || !errors.Is(err, io.EOF) && !errors.Is(err, ErrTooLarge) {
			t.Errorf("%+v: %d answers, %v", test.limits, len(all), err)
		}
	}
	// 10 MiB in one answer are within the default.
	big := `[{"answer":"error","id":"1","details":"` + strings.Repeat("x", 10<<20-100) + `"}]`
	if got := answers(t, big, 4)[0]; len(got.Details) != 10<<20-100 {
		t.Errorf("%d bytes of details", len(got.Details))
	}
}

// An answer owns its memory: the next one does not change it.
func TestAnswersOwnTheirMemory(t *testing.T) {
	for _, one := range []string{
		`{"answer":"action","id":"1 a 0","action":{"type":"xx","s":"yy"},"meta":{"subprotocol":"1.0.0","channels":["cc"]}}`,
		`{"answer":"authenticated","authId":"A","subprotocol":"1.0.0"}`,
		`{"answer":"wrongSubprotocol","authId":"A","supported":["1.0.0"]}`,
		`["error","1 a 0",["not","a","text"]]`,
	} {
		other := strings.Repeat(" ", len(one)) + `"`
		r := NewAnswerReader(strings.NewReader("["+one+","+strings.Repeat(other+strings.Repeat("#", 100)+`",`, 200)+"1]"), 4, AnswerLimits{})
		first, err := r.Next()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := everything(r); !errors.Is(err, io.EOF) {
			t.Fatal(err)
		}
		if diff := cmp.Diff(answers(t, "["+one+"]", 4)[0], first); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	}
}

// FuzzAnswers: how a response is cut into reads changes nothing, and what it says is what
// encoding/json reads.
func FuzzAnswers(f *testing.F) {
	f.Add([]byte(someAnswers), uint64(1))
	f.Add([]byte(`[["error","stack"],["unknownChannel","1 a 0"],["resend","1 a 0",{"channels":["a"]}]]`), uint64(2))
	f.Add([]byte(`[{"answer":"authenticated","authId":"A","subprotocol":1},{"answer":"wrongSubprotocol","authId":"B","supported":{}}]`), uint64(3))
	f.Add([]byte(`{}`), uint64(4))
	f.Add([]byte(`[{"a":1,"a":2},`), uint64(5))
	limits := AnswerLimits{Element: 300, Total: 3000, Depth: 5}
	f.Fuzz(func(t *testing.T, text []byte, seed uint64) {
		want, wantErr := everything(NewAnswerReader(bytes.NewReader(text), int(2+seed%3), limits))
		chunks := &chunked{text: text, rand: rand.New(rand.NewPCG(seed, 0))}
		got, err := everything(NewAnswerReader(chunks, int(2+seed%3), limits))
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatalf("cut into pieces (-whole +cut):\n%s", diff)
		}
		for _, class := range []error{io.EOF, ErrEmptyAnswer, ErrTooLarge, ErrMalformed, io.ErrUnexpectedEOF} {
			if errors.Is(err, class) != errors.Is(wantErr, class) {
				t.Fatalf("cut into pieces: %v, whole: %v", err, wantErr)
			}
		}
		for _, a := range got {
			if a.Action != nil {
				sameAction(t, a.Action)
			}
			if a.Kind == AnswerUnknown && (a.Action != nil || !a.Targets.Empty()) {
				t.Fatalf("malformed, but %+v", a)
			}
		}
		if !errors.Is(err, io.EOF) {
			return
		}
		var elements []json.RawMessage
		if err := json.NewDecoder(bytes.NewReader(text)).Decode(&elements); err != nil || len(elements) != len(got) {
			t.Fatalf("%d answers, but %d elements to encoding/json (%v)", len(got), len(elements), err)
		}
		for i, raw := range elements {
			var members struct {
				Answer string  `json:"answer"`
				ID     *string `json:"id"`
			}
			if got[i].Kind == AnswerApproved && raw[0] == '{' {
				if err := json.Unmarshal(raw, &members); err != nil || members.Answer != "approved" || members.ID != nil && *members.ID != got[i].ID {
					t.Fatalf("%s is %+v", raw, got[i])
				}
			}
		}
	})
}

// A chunked reader gives its text in pieces of random length, some of them empty.
type chunked struct {
	text []byte
	rand *rand.Rand
}

func (c *chunked) Read(p []byte) (int, error) {
	if len(c.text) == 0 {
		return 0, io.EOF
	}
	n := copy(p, c.text[:c.rand.IntN(min(len(c.text), 7)+1)])
	c.text = c.text[n:]
	return n, nil
}
