package main

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// A real node takes what is sent, from the place where its settings say that its control API is.
func TestSendToANode(t *testing.T) {
	control := freeAddr(t)
	env := with("LOGUX_PORT", "0", "LOGUX_ADMIN_ADDR", "off", "LOGUX_LOGGER", "json", "LOGUX_CONTROL_ADDR", control, "LOGUX_CONTROL_PATH", "/control")
	p := start(t, env)
	defer p.kill()
	out, errs, code := command(t, env, "", "send", "--channel", "counter", `{"type":"INC"}`)
	if code != exitOK || out != "Accepted by http://"+control+"/control\n" || errs != "" {
		t.Errorf("%d %q %q", code, out, errs)
	}
	for say, c := range map[string]struct {
		env  environment
		args []string
	}{
		"refuses the secret":     {environment{"LOGUX_CONTROL_SECRET": "another secret"}, []string{"--url", "http://" + control + "/control"}},
		"is not the control API": {env, []string{"--url", "http://" + control}},
		"does not answer":        {env, []string{"--url", "http://" + freeAddr(t)}},
	} {
		out, errs, code := command(t, c.env, "", append([]string{"send", "--user", "10", `{"type":"INC"}`}, c.args...)...)
		if code != exitFailed || out != "" || !strings.Contains(errs, say) || strings.Count(errs, "\n") != 1 {
			t.Errorf("%s: %d %q %q", say, code, out, errs)
		}
	}
}

// What arrives is the request of PROTOCOL section 5, with names that hold commas and numbers as they were written.
func TestSendBody(t *testing.T) {
	var mu sync.Mutex
	var body []byte
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		body, _ = io.ReadAll(r.Body)
		if r.Method != http.MethodPost || r.Header.Get("Content-Type") != "application/json" {
			t.Errorf("%s %v", r.Method, r.Header)
		}
	}))
	defer server.Close()
	file := filepath.Join(t.TempDir(), "secret")
	writeFile(t, file, "from-a-file\n")
	for name, c := range map[string]struct {
		env   environment
		stdin string
		args  []string
		want  string
	}{
		"argument": {enough, "", []string{"--channel", "a,b", "--channel", "c", "--user", "10", "--client", "10:uuid", `{"type":"A","n":12345678901234567890.0}`},
			`{"version":4,"secret":"0123456789abcdef","commands":[{"command":"action","action":{"type":"A","n":12345678901234567890.0},"meta":{"channels":["a,b","c"],"users":["10"],"clients":["10:uuid"]}}]}`},
		"standard input": {environment{"LOGUX_CONTROL_SECRET_FILE": file}, "{ \"type\": \"B\" }\n", []string{"--user", "10"},
			`{"version":4,"secret":"from-a-file","commands":[{"command":"action","action":{"type":"B"},"meta":{"users":["10"]}}]}`},
		"dash, and variables that are no settings": {environment{"LOGUX_CONTROL_SECRET": "first,second", "LOGUX_USER": "11", "LOGUX_CHANNEL": "x"}, `{"type":"C"}`, []string{"--user", "10", "-"},
			`{"version":4,"secret":"first","commands":[{"command":"action","action":{"type":"C"},"meta":{"users":["10"]}}]}`},
	} {
		out, errs, code := command(t, c.env, c.stdin, append([]string{"send", "--url", server.URL}, c.args...)...)
		mu.Lock()
		if diff := cmp.Diff(c.want, string(body)); diff != "" || code != exitOK || out != "Accepted by "+server.URL+"/\n" || errs != "" {
			t.Errorf("%s: %d %q %q %s", name, code, out, errs, diff)
		}
		mu.Unlock()
	}
}

// What cannot be sent is refused before anything is asked, with what to do.
func TestSendRefuses(t *testing.T) {
	for name, c := range map[string]struct {
		env   environment
		stdin string
		args  []string
		say   string
	}{
		"no receiver":     {enough, "", []string{`{"type":"A"}`}, "--channel, --user or --client"},
		"no secret":       {nil, "", []string{"--user", "10", `{"type":"A"}`}, "LOGUX_CONTROL_SECRET"},
		"no action":       {enough, " \n", []string{"--user", "10"}, "standard input"},
		"no JSON":         {enough, "", []string{"--user", "10", `{type:"A"}`}, "no JSON"},
		"two actions":     {enough, `{"type":"A"}{"type":"B"}`, []string{"--user", "10"}, "no JSON"},
		"no object":       {enough, "", []string{"--user", "10", `["A"]`}, "no object"},
		"no type":         {enough, "", []string{"--user", "10", `{}`}, "string as its type"},
		"type null":       {enough, "", []string{"--user", "10", `{"type":null}`}, "string as its type"},
		"too long":        {enough, `{"type":"` + strings.Repeat("x", maxAction) + `"}`, []string{"--user", "10"}, "1 MiB"},
		"no URL":          {enough, "", []string{"--user", "10", "--url", "127.0.0.1:1", `{"type":"A"}`}, "--url"},
		"password in URL": {enough, "", []string{"--user", "10", "--url", "http://a:b@127.0.0.1:1", `{"type":"A"}`}, "--url"},
		"port 0":          {with("LOGUX_PORT", "0"), "", []string{"--user", "10", `{"type":"A"}`}, "LOGUX_PORT has the port 0"},
		"two arguments":   {enough, "", []string{"--user", "10", `{"type":"A"}`, "secret-argument"}, "--help"},
	} {
		out, errs, code := command(t, c.env, c.stdin, append([]string{"send"}, c.args...)...)
		if code != exitSetting || out != "" || !strings.Contains(errs, c.say) || strings.Count(errs, "\n") != 1 || strings.Contains(errs, "secret-argument") {
			t.Errorf("%s: %d %q %q", name, code, out, errs)
		}
	}
}

// Every refusal of the control API (PROTOCOL section 5) says what to do.
func TestRefusals(t *testing.T) {
	for _, c := range []struct {
		status int
		text   string
		say    string
	}{
		{200, "<html>", "another server"},
		{400, "Wrong body", "answers 400: Wrong body"},
		{403, "Wrong secret", "set LOGUX_CONTROL_SECRET"},
		{403, "IP address is not in LOGUX_CONTROL_MASK/controlMask", "LOGUX_CONTROL_MASK of the node"},
		{404, "Wrong path", "LOGUX_CONTROL_PATH"},
		{405, "Wrong method", "LOGUX_CONTROL_PATH"},
		{429, "Too many wrong secret attempts", "wait 3s"},
		{500, "you sent 0123456789abcdef", "[hidden]"},
	} {
		if err := refusal(c.status, c.text, []string{"0123456789abcdef"}); err == nil || !strings.Contains(err.Error(), c.say) || strings.Contains(err.Error(), "0123456789abcdef") {
			t.Errorf("%d %s: %v", c.status, c.text, err)
		}
	}
	if err := refusal(200, "", nil); err != nil {
		t.Error(err)
	}
}

// Whatever is to be sent as an action, the request stays one JSON object with that action in it.
func FuzzSendAction(f *testing.F) {
	for _, text := range []string{`{"type":"A"}`, `{"type":"A"}}`, `{"type":1}`, `{"type":"\u0000"}`, `{"type":"A","type":2}`, `{"TYPE":"A"}`, "", "-", "null"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		s := &sendCommand{Action: text, Users: names{"10"}}
		action, err := s.read(strings.NewReader(text))
		if err != nil {
			return
		}
		body, err := s.body("secret", action)
		var got struct {
			Commands []struct{ Action map[string]any }
		}
		if err != nil || json.Unmarshal(body, &got) != nil || len(got.Commands) != 1 {
			t.Fatalf("%q becomes %s, %v", text, body, err)
		}
		if _, ok := got.Commands[0].Action["type"].(string); !ok {
			t.Errorf("%q is sent as %s", text, body)
		}
	})
}
