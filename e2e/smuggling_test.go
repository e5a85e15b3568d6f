package e2e

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"sync"
	"testing"

	"logux-proxy/backend/backendtest"
)

// readers are the languages of the published back-end libraries.
var readers = []struct {
	name    string
	command []string
}{
	{"Node.js", []string{"node", "readers/read.mjs"}},
	{"Python", []string{"python3", "readers/read.py"}},
	{"PHP", []string{"php", "readers/read.php"}},
	{"Ruby", []string{"ruby", "readers/read.rb"}},
}

// "JSON with duplicate keys, invalid UTF-8, excessive depth or trailing data is refused (wrong-format), so that the proxy and the back-end can never read
// two different actions from one text": whatever comes through comes byte for byte, and has the same type, channel and id in every language. No text
// may make a request that one of them cannot read, since other clients' actions share it.
func TestOneTextIsOneActionInEveryLanguage(t *testing.T) {
	t.Parallel()
	b := newBackend(t)
	p := startProxy(t, b.url, nil)
	texts := append(suiteTexts(t), generatedTexts()...)
	ids := make([]string, len(texts))
	t.Run("send", func(t *testing.T) {
		const lanes = 8
		for lane := range lanes {
			t.Run(fmt.Sprint(lane), func(t *testing.T) {
				t.Parallel()
				var c *client
				for i := lane; i < len(texts); i += lanes {
					if c == nil {
						c = connect(t, p.addr, fmt.Sprintf("38:smuggler%d:tab", i), dialOptions{})
					}
					if ids[i] = c.sync(t, texts[i].text); !c.settled(t, ids[i]) {
						c = nil
					}
				}
			})
		}
	})
	came := map[string]*backendtest.Command{}
	for _, cmd := range b.seen(func(c *backendtest.Command) bool { return !c.Auth }) {
		came[cmd.ID] = cmd
	}
	through := 0
	for i, s := range texts {
		cmd := came[ids[i]]
		switch {
		case cmd != nil && s.want == mustNot:
			t.Errorf("%.80q: reached the back-end as %.200s", s.name, cmd.Action)
		case cmd == nil && s.want == must:
			t.Errorf("%.80q: did not reach the back-end: %.200q", s.name, s.text)
		case cmd != nil:
			through++
			if want := strings.Trim(s.text, " \t\r\n"); string(cmd.Action) != want {
				t.Errorf("%.80q: %.200q became %.200q", s.name, want, cmd.Action)
			}
		}
	}
	t.Logf("%d of %d texts came through", through, len(texts))
	for _, err := range b.Errors() {
		t.Errorf("the back-end could not read a request: %v", err)
	}
	compareReaders(t, b)
}

// settled waits until the client was told what became of its action; false means that the connection ended over it.
func (c *client) settled(t testing.TB, id string) bool {
	t.Helper()
	over := func() bool {
		_, closed := c.gone()
		return closed || len(c.outcomes(id)) > 0
	}
	if !c.awaitFor(patience, over) {
		t.Fatalf("%s: waited %v in vain for what becomes of %q; %s", c.nodeID, patience, id, c.story())
	}
	return len(c.outcomes(id)) > 0
}

// compareReaders has every language read every request of b.
func compareReaders(t *testing.T, b *backend) {
	t.Helper()
	var bodies [][]byte
	var want []string
	for _, r := range b.Requests() {
		line, err := readRequest(r.Body)
		if err != nil {
			t.Errorf("Go: %v in %.400q", err, r.Body)
		}
		bodies, want = append(bodies, r.Body), append(want, line)
	}
	var wg sync.WaitGroup
	defer wg.Wait()
	for _, reader := range readers {
		wg.Go(func() {
			got, err := readAll(reader.command, bodies)
			if err != nil || len(got) != len(want) {
				t.Errorf("%s read %d of %d requests: %v", reader.name, len(got), len(want), err)
				return
			}
			for i, line := range got {
				if line != want[i] {
					t.Errorf("%s reads %.200q, Go reads %.200q in %.400q", reader.name, line, want[i], bodies[i])
				}
			}
		})
	}
}

// readAll gives bodies to an interpreter and returns its lines.
func readAll(command []string, bodies [][]byte) ([]string, error) {
	var in, failures bytes.Buffer
	for _, body := range bodies {
		in.WriteString(base64.StdEncoding.EncodeToString(body) + "\n")
	}
	cmd := exec.Command(command[0], command[1:]...)
	cmd.Stdin, cmd.Stderr = &in, &failures
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("%w: %s", err, failures.String())
	}
	return strings.Split(strings.TrimSuffix(string(out), "\n"), "\n"), nil
}

// readRequest reads a request as the scripts in readers do, and as a struct too, which takes keys that differ in case for the same.
func readRequest(body []byte) (string, error) {
	var request struct {
		Commands []struct {
			Command string
			Action  json.RawMessage
			Meta    map[string]json.RawMessage
		}
	}
	if err := json.Unmarshal(body, &request); err != nil {
		return "", err
	}
	var lines []string
	for _, c := range request.Commands {
		if c.Command != "action" {
			continue
		}
		var exact map[string]json.RawMessage
		var folded struct{ Type, Channel any }
		if err := errors.Join(json.Unmarshal(c.Action, &exact), unmarshalNumbers(c.Action, &folded)); err != nil {
			return "", err
		}
		parts := []string{show(exact["type"]), show(exact["channel"]), show(exact["id"]), show(c.Meta["id"])}
		if text, ok := folded.Type.(string); !ok || "="+hex.EncodeToString([]byte(text)) != parts[0] {
			return "", fmt.Errorf("a struct reads type %q, a map %s", folded.Type, exact["type"])
		}
		if text, _ := folded.Channel.(string); folded.Type == "logux/subscribe" && "="+hex.EncodeToString([]byte(text)) != parts[1] {
			return "", fmt.Errorf("a struct reads channel %q, a map %s", text, exact["channel"])
		}
		lines = append(lines, strings.Join(parts, " "))
	}
	return strings.Join(lines, ";"), nil
}

// unmarshalNumbers keeps numbers as they are: 1e400 is none of a float64.
func unmarshalNumbers(text []byte, into any) error {
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	return d.Decode(into)
}

// show writes a value as the scripts in readers do.
func show(v json.RawMessage) string {
	var text string
	switch {
	case v == nil:
		return "-"
	case v[0] != '"' || json.Unmarshal(v, &text) != nil:
		return "!"
	}
	return "=" + hex.EncodeToString([]byte(text))
}
