package e2e

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"testing"

	"logux-proxy/backend/backendtest"
)

// Secrets, tokens and cookies stand in no log line, metric, profile, health page, error text or command line, in either form of the log and at its
// most talkative, whatever goes wrong.
func TestSecretsAreNeverShown(t *testing.T) {
	for _, logger := range []string{"json", "human"} {
		t.Run(logger, func(t *testing.T) {
			t.Parallel()
			canaries := map[string]string{}
			canary := func(what string) string {
				text := "canary" + strings.ReplaceAll(what, " ", "") + "4711"
				canaries[what] = text
				return text
			}
			first, second := canary("first secret"), canary("second secret")
			b := &backend{
				Backend:  backendtest.New(backendtest.Options{Secret: first}),
				counters: map[string]int{}, auth: map[string]backendtest.Handler{},
			}
			b.Handle("auth", b.authenticate)
			road := newLine(t, serveBackend(t, b))
			p := startProxy(t, fmt.Sprintf("http://user:%s@%s/logux", canary("URL password"), road.addr), settings{
				"LOGUX_LOGGER": logger, "LOGUX_LOG_LEVEL": "debug", "LOGUX_BACKEND_HOLD": "0s",
				"LOGUX_CONTROL_SECRET": "", "LOGUX_CONTROL_SECRET_FILE": writeFile(t, "secret", first+","+second),
			})
			token, cookie, guess := canary("token"), canary("cookie"), canary("guessed secret")
			header := http.Header{"Cookie": {"session=" + cookie}, "Authorization": {"Bearer " + canary("upgrade header")}}
			said := &strings.Builder{}

			// Let in, denied, throwing, unreachable, malformed around the token.
			c := connect(t, p.addr, "38:canary:tab", dialOptions{token: token, header: header})
			c.send(t, `["headers",{"session":"`+canary("Logux header")+`"}]`)
			c.do(t, `{"type":"NOBODY KNOWS","password":"`+canary("action body")+`"}`)
			said.WriteString(c.story())
			b.onAuth("39", backendtest.Script(backendtest.Denied))
			b.onAuth("40", func(x *backendtest.Exchange) { x.Error("Error: no user for " + x.UserID) })
			for _, user := range []string{"39", "40", "41"} {
				if user == "41" {
					road.down()
				}
				l := newLine(t, p.addr)
				c := open(t, l.addr, user+":canary:tab", dialOptions{header: header})
				c.send(t, connectMessage(user+":canary:tab", dialOptions{token: token}))
				c.awaitClosed(t)
				said.WriteString(c.story())
			}
			for _, text := range []string{
				`["connect",4,"42:a b:c",0,{"token":"` + token + `"}]`,
				`["connect","four","42:a:c",0,{"token":"` + token + `"}]`,
				`["connect",4,"42:a:c",0,{"token":"` + token + `"`,
				`["connect",1,"42:a:c",0,{"token":"` + token + `"}]`,
			} {
				c := open(t, p.addr, "42:canary:tab", dialOptions{header: header})
				c.send(t, text)
				c.awaitClosed(t) // wrong-format may tell the sender its own text
			}
			// The control API: wrong, too many wrong, both right ones.
			for range 4 {
				_, answer := p.control(t, fmt.Sprintf(`{"version":4,"secret":%q,"commands":[]}`, guess))
				said.WriteString(answer)
			}
			for _, body := range []string{
				fmt.Sprintf(`{"version":9,"secret":%q,"commands":[]}`, first),
				fmt.Sprintf(`{"version":4,"secret":%q,"commands":[{}]}`, second),
				fmt.Sprintf(`{"version":4,"secret":%q,"commands":[`, first),
			} {
				_, answer := p.control(t, body)
				said.WriteString(answer)
			}
			for _, path := range []string{"/", "/health", "/nothing"} {
				res, err := http.Get("http://" + p.addr + path)
				if err != nil {
					t.Fatal(err)
				}
				body, err := io.ReadAll(res.Body)
				if err != nil {
					t.Fatal(err)
				}
				_ = res.Body.Close()
				fmt.Fprintln(said, string(body), res.Header)
			}
			for _, path := range []string{
				"/", "/healthz", "/readyz", "/metrics", "/cluster", "/debug/pprof/", "/debug/pprof/cmdline",
				"/debug/pprof/goroutine?debug=2", "/debug/pprof/heap?debug=1", "/debug/pprof/symbol",
			} {
				_, body := p.get(t, path)
				said.WriteString(body)
			}
			if cmdline, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", p.cmd.Process.Pid)); err == nil {
				said.Write(cmdline)
			}
			p.stop(t)
			for what, text := range canaries {
				if log := p.log.String(); strings.Contains(log, text) {
					t.Errorf("the %s stands in the log: %s", what, around(log, text))
				}
				if strings.Contains(said.String(), text) && what != "action body" { // an undo carries its author's own action
					t.Errorf("the %s was shown: %s", what, around(said.String(), text))
				}
			}
			if !strings.Contains(p.log.String(), "38:canary:tab") {
				t.Errorf("the log does not name the client that came; is this the log?\n%s", p.log.tail(2000))
			}
		})
	}
}

// around returns the line of text with the first place of part.
func around(text, part string) string {
	at := strings.Index(text, part)
	return text[max(0, at-200):min(len(text), at+len(part)+50)]
}
