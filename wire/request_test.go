package wire

import (
	"encoding/json"
	"strings"
	"testing"
)

// PROTOCOL section 5: "body `{"version":4,"secret":S,"commands":[…]}`", and "Versions": "Outgoing:
// send `secret`; for version 2 send both."
func TestAppendCommands(t *testing.T) {
	command := func(version int) string {
		b := AppendCommandsStart(nil, version, `s"\`)
		b = append(b, '1')
		b = AppendCommandsNext(b)
		b = append(b, '2')
		return string(AppendCommandsEnd(b))
	}
	for version, want := range map[int]string{
		2: `{"version":2,"password":"s\"\\","secret":"s\"\\","commands":[1,2]}`,
		3: `{"version":3,"secret":"s\"\\","commands":[1,2]}`,
		4: `{"version":4,"secret":"s\"\\","commands":[1,2]}`,
	} {
		if got := command(version); got != want {
			t.Errorf("version %d: got %s, want %s", version, got, want)
		}
	}
}

// `{"command":"auth","authId","userId","token"?,"subprotocol","cookie":{…},"headers":{…}}`, and
// in versions 2 and 3 `["auth", userId, token, authId]`.
func TestAppendAuth(t *testing.T) {
	full := &Auth{
		AuthID: "A1", NodeID: "10:a:b", Token: `t"`, HasToken: true, Subprotocol: RawJSON(`"1.0.0"`),
		Cookies: map[string]string{"b": "2", "a": `"é`}, Headers: RawJSON(`{"locale": "en"}`),
	}
	bare := &Auth{AuthID: "A2", NodeID: "uuid"}
	empty := &Auth{AuthID: "A3", NodeID: "10:a", HasToken: true, Subprotocol: RawJSON(`10`)}
	for _, test := range []struct {
		version int
		auth    *Auth
		want    string
	}{
		{4, full, `{"command":"auth","authId":"A1","userId":"10","token":"t\"","subprotocol":"1.0.0","cookie":{"a":"\"é","b":"2"},"headers":{"locale": "en"}}`},
		// "`userId` is absent when the node ID has no user part."
		{4, bare, `{"command":"auth","authId":"A2","cookie":{},"headers":{}}`},
		{4, empty, `{"command":"auth","authId":"A3","userId":"10","token":"","subprotocol":10,"cookie":{},"headers":{}}`},
		{3, full, `["auth","10","t\"","A1"]`},
		{2, full, `["auth","10","t\"","A1"]`},
		// The reference wrote undefined there, which JSON.stringify makes null.
		{2, bare, `["auth",null,null,"A2"]`},
		{3, empty, `["auth","10","","A3"]`},
	} {
		if got := string(AppendAuth(nil, test.version, test.auth)); got != test.want {
			t.Errorf("version %d: got %s, want %s", test.version, got, test.want)
		}
	}
}

// `{"command":"action","action":{…},"meta":{"id","time","subprotocol"},"headers":{…}}`, and in
// versions 2 and 3 `["action", action, meta]`. "Meta to the back-end: `id`, `time`, `subprotocol`. […] what it is before
// the first `authenticated` is nobody's business: leave it out."
func TestAppendCommand(t *testing.T) {
	body := RawJSON(`{ "type":"a","n":1.0,"n2":1e400,"\u0062":1 }`)
	full := &Command{
		Action:  &Action{ID: `1560954012838 38:"x:b 0`, Time: 1560954012838, Type: "a", Subprotocol: RawJSON(`10`), Body: body},
		Headers: RawJSON(`{"locale":"en"}`),
	}
	bare := &Command{Action: &Action{ID: "1 a 0", Body: RawJSON(`{"type":"b"}`)}}
	for _, test := range []struct {
		version int
		command *Command
		want    string
	}{
		{4, full, `{"command":"action","action":` + string(body) + `,"meta":{"id":"1560954012838 38:\"x:b 0","time":1560954012838,"subprotocol":10},"headers":{"locale":"en"}}`},
		{4, bare, `{"command":"action","action":{"type":"b"},"meta":{"id":"1 a 0","time":0},"headers":{}}`},
		{3, full, `["action",` + string(body) + `,{"id":"1560954012838 38:\"x:b 0","time":1560954012838,"subprotocol":10}]`},
		{2, bare, `["action",{"type":"b"},{"id":"1 a 0","time":0}]`},
	} {
		if got := string(AppendCommand(nil, test.version, test.command)); got != test.want {
			t.Errorf("version %d: got %s, want %s", test.version, got, test.want)
		}
	}
}

// Cookies come from an HTTP header and may hold any bytes; the request stays one JSON object
// with one meaning.
func TestAppendAuthCookies(t *testing.T) {
	cookies := map[string]string{
		"__proto__": "p", "": "empty", `a"b`: "quote", "nl": "a\r\nb\x00", "bad": "\xff\xfe", "\xff": "name", "\xfe": "another", "long": strings.Repeat("é", 1<<15),
	}
	got := AppendAuth(nil, 4, &Auth{AuthID: "A", NodeID: "a", Cookies: cookies})
	var s scanner
	s.members(got, nil, nil)
	if s.fault != "" {
		t.Fatalf("not strict JSON: %s", s.fault)
	}
	var auth struct{ Cookie map[string]string }
	if err := json.Unmarshal(got, &auth); err != nil {
		t.Fatal(err)
	}
	delete(cookies, "\xff")
	delete(cookies, "\xfe")
	cookies["bad"] = "\ufffd\ufffd"
	if len(auth.Cookie) != len(cookies) {
		t.Errorf("%d cookies, want %d", len(auth.Cookie), len(cookies))
	}
	for name, want := range cookies {
		if auth.Cookie[name] != want {
			t.Errorf("cookie %q is %.40q, want %.40q", name, auth.Cookie[name], want)
		}
	}
}

// The control API reads what the other side of the same protocol writes.
func TestControlReadsCommands(t *testing.T) {
	for version := MinBackendVersion; version <= MaxBackendVersion; version++ {
		a := &Action{ID: "1 server:x 0", Time: 5, Type: "a", Subprotocol: RawJSON(`"1.0.0"`), Body: RawJSON(`{"type":"a"}`)}
		b := AppendCommandsStart(nil, version, "secret")
		b = AppendCommand(b, version, &Command{Action: a})
		b = AppendCommandsEnd(AppendCommand(AppendCommandsNext(b), version, &Command{Action: a}))
		req, fault := DecodeControl(b, 0)
		if fault != ControlOK || req.Version != version || req.Secret != "secret" || len(req.Actions) != 2 {
			t.Errorf("version %d: %q %+v", version, fault, req)
		}
	}
}
