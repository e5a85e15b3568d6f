package wire

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// PROTOCOL section 5, the control table: the rows that a body decides, in their order.
func TestDecodeControlFaults(t *testing.T) {
	const good = `{"command":"action","action":{"type":"a"},"meta":{}}`
	for _, test := range []struct {
		fault  ControlFault
		bodies []string
	}{
		// "not JSON"
		{ControlWrongFormat, []string{
			``, ` `, `{`, `{"version":4,"secret":"s","commands":[]`, `{"version":4,"secret":"s","commands":[]}x`, `{}{}`, `version=4`, "\ufeff{}", "\xff", `{'version':4}`,
			`{"version":4,"version":4,"secret":"s","commands":[]}`, `{"version":4,"secret":"s","\u0073ecret":"t","commands":[]}`,
			`{"version":4,"secret":"s","commands":[{"command":"action","action":{"type":"a","type":"b"},"meta":{}}]}`,
			`{"version":4,"secret":"s","commands":[{"command":"action","action":{"type":"\ud800"},"meta":{}}]}`,
			`{"version":4,"secret":"s","commands":` + strings.Repeat("[", 64) + strings.Repeat("]", 64) + `}`,
		}},
		// "not an object with numeric `version`, string `secret`, array `commands` of objects". "The reference dies on
		// `POST` of `null`".
		{ControlWrongBody, []string{
			`null`, `1`, `"a"`, `[]`, `[` + good + `]`, `{}`, `{"secret":"s","commands":[]}`, `{"version":4,"commands":[]}`, `{"version":4,"secret":"s"}`,
			`{"version":"4","secret":"s","commands":[]}`, `{"version":null,"secret":"s","commands":[]}`, `{"version":4,"secret":1,"commands":[]}`,
			`{"version":4,"secret":null,"commands":[]}`, `{"version":4,"password":["s"],"commands":[]}`, `{"version":4,"secret":{},"password":"s","commands":[]}`,
			`{"version":4,"secret":"s","commands":null}`, `{"version":4,"secret":"s","commands":"a"}`, `{"version":4,"secret":"s","commands":[1]}`,
			`{"version":4,"secret":"s","commands":[null]}`, `{"version":4,"secret":"s","commands":["action"]}`, `{"version":4,"secret":"s","commands":[` + good + `,null]}`,
			`{"version":9,"secret":"s","commands":[null]}`, // the body comes before the version
		}},
		// "version not 2, 3 or 4"
		{ControlWrongVersion, []string{
			`{"version":1,"secret":"s","commands":[]}`, `{"version":5,"secret":"s","commands":[]}`, `{"version":-4,"secret":"s","commands":[]}`,
			`{"version":3.5,"secret":"s","commands":[]}`, `{"version":1e400,"secret":"s","commands":[]}`, `{"version":4294967300,"secret":"s","commands":[]}`,
			`{"version":1,"secret":"s","commands":[{}]}`, // the version comes before the commands
		}},
	} {
		for _, body := range test.bodies {
			req, fault := DecodeControl([]byte(body), 0)
			if fault != test.fault {
				t.Errorf("%.200s: %q, want %q", body, fault, test.fault)
			}
			if req.Actions != nil {
				t.Errorf("%.200s: something would be applied: %+v", body, req.Actions)
			}
		}
	}
}

// "a command that is not `action` with an object `action` having a string `type` and an object
// `meta` | 400 | `Wrong command` (nothing of the request is applied)". The secret is checked before, so it comes with
// the fault.
func TestDecodeControlWrongCommand(t *testing.T) {
	const good = `{"command":"action","action":{"type":"a"},"meta":{}}`
	for _, command := range []string{
		`{}`, `[]`, `{"command":"auth","action":{"type":"a"},"meta":{}}`, `{"command":"Action","action":{"type":"a"},"meta":{}}`, `{"command":null,"action":{"type":"a"},"meta":{}}`,
		`{"action":{"type":"a"},"meta":{}}`, `{"command":["action"],"action":{"type":"a"},"meta":{}}`,
		`{"command":"action","meta":{}}`, `{"command":"action","action":null,"meta":{}}`, `{"command":"action","action":[],"meta":{}}`, `{"command":"action","action":"a","meta":{}}`,
		`{"command":"action","action":{},"meta":{}}`, `{"command":"action","action":{"type":1},"meta":{}}`, `{"command":"action","action":{"type":null},"meta":{}}`,
		`{"command":"action","action":{"type":"a"}}`, `{"command":"action","action":{"type":"a"},"meta":null}`, `{"command":"action","action":{"type":"a"},"meta":"a"}`,
		`{"command":"action","action":{"type":"a"},"meta":1}`, `{"command":"action","action":{"type":"a"},"meta":[1]}`, `{"command":"action","action":{"type":"a"},"meta":[[]]}`,
		// "The reference dies […] on targets that are numbers"
		`{"command":"action","action":{"type":"a"},"meta":{"channels":1}}`, `{"command":"action","action":{"type":"a"},"meta":{"channels":[1]}}`,
		`{"command":"action","action":{"type":"a"},"meta":{"channel":1}}`, `{"command":"action","action":{"type":"a"},"meta":{"channels":["a",null]}}`,
		`{"command":"action","action":{"type":"a"},"meta":{"channels":{"0":"a"}}}`, `{"command":"action","action":{"type":"a"},"meta":{"clients":38}}`,
		`{"command":"action","action":{"type":"a"},"meta":{"clients":[["a"]]}}`, `{"command":"action","action":{"type":"a"},"meta":{"nodes":true}}`,
		`{"command":"action","action":{"type":"a"},"meta":{"excludeClients":[1]}}`, `{"command":"action","action":{"type":"a"},"meta":{"users":[true]}}`,
		`{"command":"action","action":{"type":"a"},"meta":{"users":[[38]]}}`, `{"command":"action","action":{"type":"a"},"meta":{"user":{}}}`,
		`{"command":"action","action":{"type":"a"},"meta":{"id":1}}`, `{"command":"action","action":{"type":"a"},"meta":{"id":""}}`, `{"command":"action","action":{"type":"a"},"meta":{"id":null}}`,
		`{"command":"action","action":{"type":"a"},"meta":{"id":"1 a"}}`, `{"command":"action","action":{"type":"a"},"meta":{"id":"a b c"}}`,
		`{"command":"action","action":{"type":"a"},"meta":{"time":"yesterday"}}`, `{"command":"action","action":{"type":"a"},"meta":{"time":" 1"}}`,
		`{"command":"action","action":{"type":"a"},"meta":{"time":""}}`, `{"command":"action","action":{"type":"a"},"meta":{"time":null}}`, `{"command":"action","action":{"type":"a"},"meta":{"time":1e400}}`,
		`{"command":"action","action":{"type":"a"},"meta":{"time":"\"1\""}}`, `{"command":"action","action":{"type":"a"},"meta":{"time":"[1]"}}`, `{"command":"action","action":{"type":"a"},"meta":{"time":[1]}}`,
		`{"command":"action","action":{"type":"a"},"meta":{"subprotocol":{}}}`, `{"command":"action","action":{"type":"a"},"meta":{"subprotocol":null}}`,
		`["action",{"type":"a"},{}]`, // an array in version 4
	} {
		for _, commands := range []string{`[` + command + `]`, `[` + good + `,` + command + `]`, `[` + command + `,` + good + `]`} {
			body := `{"version":4,"commands":` + commands + `,"secret":"s"}`
			req, fault := DecodeControl([]byte(body), 0)
			if fault != ControlWrongCommand || req.Version != 4 || req.Secret != "s" || req.Actions != nil {
				t.Errorf("%s: %q %+v", body, fault, req)
			}
		}
	}
	for _, command := range []string{`[]`, `["action"]`, `["action",{"type":"a"}]`, `["action",{"type":"a"},{},1]`, `["auth","1","2","3"]`, `["action",{},{}]`, `["action",{"type":"a"},null]`} {
		if _, fault := DecodeControl([]byte(`{"version":2,"secret":"s","commands":[`+command+`]}`), 0); fault != ControlWrongCommand {
			t.Errorf("%s: %q", command, fault)
		}
	}
}

func TestDecodeControl(t *testing.T) {
	action := func(body string, a Action, targets Targets) []ControlAction {
		a.Type, a.Body = "a", RawJSON(body)
		return []ControlAction{{&a, targets}}
	}
	const body = `{ "type":"a","n":1.0,"m":1e400 }`
	for _, test := range []struct {
		text string
		want ControlRequest
	}{
		{`{"version":4,"secret":"s","commands":[]}`, ControlRequest{Version: 4, Secret: "s", Actions: []ControlAction{}}},
		{
			`{"version":4,"secret":"\u0073\"","commands":[{"command":"action","action":` + body + `,"meta":{"channels":["users/38",""],"excludeClients":["38:a"]}}],"more":1}`,
			ControlRequest{4, `s"`, action(body, Action{}, Targets{Channels: []string{"users/38", ""}, ExcludeClients: []ClientID{"38:a"}})},
		},
		// "`commands` given as one object instead of an array is accepted (the user's README shows it)", and "accept
		// both keys with every version".
		{
			`{"version":4,"password":"s","commands":{"command":"action","action":{"type":"a"},"meta":{"channel":"a","user":38,"client":"38:a","node":"38:a:b"}}}`,
			ControlRequest{4, "s", action(`{"type":"a"}`, Action{}, Targets{Channels: []string{"a"}, Users: []UserID{"38"}, Clients: []ClientID{"38:a"}, Nodes: []NodeID{"38:a:b"}})},
		},
		{
			`{"version":2,"secret":"s","password":"p","commands":[["action",{"type":"a"},{"users":[38,"39",40.0,1e2,1.5,12345678901234567890],"user":"41"}]]}`,
			ControlRequest{2, "s", action(`{"type":"a"}`, Action{}, Targets{Users: []UserID{"38", "39", "40", "100", "1.5", "12345678901234567890", "41"}})},
		},
		{
			`{"version":3.0,"secret":"","commands":[{"command":"action","action":{"type":"a"},"meta":{"clients":"38:a","nodes":null}}]}`,
			ControlRequest{3, "", action(`{"type":"a"}`, Action{}, Targets{Clients: []ClientID{"38:a"}})},
		},
		// "an `id` in the meta is kept"; logux-rack sends the time as a string, PHP an empty array as meta.
		{
			`{"version":4,"secret":"s","commands":[{"command":"action","action":{"type":"a"},"meta":{"id":"1560954012838 38:a:b 0","time":"1560954012838","subprotocol":"1.0.0","status":"processed","reasons":["x"]}}]}`,
			ControlRequest{4, "s", action(`{"type":"a"}`, Action{ID: "1560954012838 38:a:b 0", Time: 1560954012838, Subprotocol: RawJSON(`"1.0.0"`)}, Targets{})},
		},
		{
			`{"version":4,"secret":"s","commands":[{"command":"action","action":{"type":"a"},"meta":{"time":1.5609540128389e12,"subprotocol":10}}]}`,
			ControlRequest{4, "s", action(`{"type":"a"}`, Action{Time: 1560954012838, Subprotocol: RawJSON(`10`)}, Targets{})},
		},
		{`{"version":4,"secret":"s","commands":[{"command":"action","action":{"type":"a"},"meta":[]}]}`, ControlRequest{4, "s", action(`{"type":"a"}`, Action{}, Targets{})}},
	} {
		text := []byte(test.text)
		got, fault := DecodeControl(text, 0)
		clear(text) // an action owns its memory
		if fault != ControlOK {
			t.Errorf("%s: %s", test.text, fault)
		} else if diff := cmp.Diff(test.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", test.text, diff)
		}
	}
}

func TestDecodeControlDepth(t *testing.T) {
	body := []byte(`{"version":4,"secret":"s","commands":[{"command":"action","action":{"type":"a","x":[[[]]]},"meta":{}}]}`)
	for depth, want := range map[int]ControlFault{0: ControlOK, 7: ControlOK, 6: ControlWrongFormat, 1: ControlWrongFormat} {
		if _, fault := DecodeControl(body, depth); fault != want {
			t.Errorf("limit %d: %q, want %q", depth, fault, want)
		}
	}
}

// FuzzControl: no panic, and what is accepted is the same action to encoding/json.
func FuzzControl(f *testing.F) {
	for _, body := range []string{
		`{"version":4,"secret":"s","commands":[{"command":"action","action":{"type":"a"},"meta":{"channels":["a"],"users":[1],"time":"1","id":"1 a 0"}}]}`,
		`{"version":2,"password":"s","commands":[["action",{"type":"a"},{"client":"a"}]]}`,
		`{"version":3,"secret":"s","commands":{"command":"action","action":{"type":"\u0061"},"meta":[]}}`,
		`{"version":4,"secret":"s","commands":[{"command":"action","action":{"type":"a"},"meta":{"user":1e400}}]}`,
		`null`, `[]`,
	} {
		f.Add([]byte(body))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		req, fault := DecodeControl(body, 0)
		if fault != ControlOK {
			if req.Actions != nil {
				t.Fatal("a fault and something to apply")
			}
			return
		}
		if req.Version < MinBackendVersion || req.Version > MaxBackendVersion {
			t.Fatalf("version %d", req.Version)
		}
		for _, a := range req.Actions {
			sameAction(t, a.Action)
			if a.Action.ID != "" {
				if _, _, _, ok := ParseActionID(a.Action.ID); !ok {
					t.Fatalf("ID %q", a.Action.ID)
				}
			}
		}
	})
}
