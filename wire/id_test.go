package wire

import "testing"

// PROTOCOL section 1, the table of identities.
func TestNodeIDParts(t *testing.T) {
	for _, test := range []struct {
		node   NodeID
		user   UserID
		client ClientID
	}{
		// "`userId:clientId:tabId`"; "first two parts joined"; "first part"
		{"38:Y7bysd:O0ETfc", "38", "38:Y7bysd"},
		{"38:Y7bysd", "38", "38:Y7bysd"},
		// "`false` and `anonymous` are ordinary user IDs"
		{"false:a:b", "false", "false:a"},
		{"anonymous:a:b", "anonymous", "anonymous:a"},
		// "node ID without `:` […] client ID = node ID, no user ID"
		{"uuid", "", "uuid"},
		{"server:FnXaqDxY", ServerUser, "server:FnXaqDxY"},
		{":a:b", "", ":a"},
		{"38::b", "38", "38:"},
		{"38:a:b:c", "38", "38:a"},
		{"", "", ""},
	} {
		if got := test.node.User(); got != test.user {
			t.Errorf("%q: user %q, want %q", test.node, got, test.user)
		}
		if got := test.node.Client(); got != test.client {
			t.Errorf("%q: client %q, want %q", test.node, got, test.client)
		}
		if got := test.node.Client().User(); got != test.user {
			t.Errorf("%q: user of the client %q, want %q", test.node, got, test.user)
		}
	}
}

// "an opaque string to us but for the node ID in it"
func TestActionIDNode(t *testing.T) {
	for id, want := range map[ActionID]NodeID{
		"1560954012838 38:Y7bysd:O0ETfc 0": "38:Y7bysd:O0ETfc",
		"-NV6jPQk 38:Y7bysd:O0ETfc":        "38:Y7bysd:O0ETfc", // protocol 7
		"1":                                "",
		"":                                 "",
	} {
		if got := id.Node(); got != want {
			t.Errorf("%q: node %q, want %q", id, got, want)
		}
		if got := id.Client(); got != want.Client() {
			t.Errorf("%q: client %q", id, got)
		}
	}
}

// "action ID | `<ms> <nodeId> <counter>`"
func TestParseActionID(t *testing.T) {
	ms, node, counter, ok := ParseActionID("1560954012838 38:Y7bysd:O0ETfc 2")
	if ms != 1560954012838 || node != "38:Y7bysd:O0ETfc" || counter != 2 || !ok {
		t.Errorf("%d %q %d %v", ms, node, counter, ok)
	}
	if got := FormatActionID(ms, node, counter); got != "1560954012838 38:Y7bysd:O0ETfc 2" {
		t.Errorf("formatted %q", got)
	}
	// An ID in the two-part form of protocol 7 is none of this form; nor is one with two texts.
	for _, id := range []ActionID{"-NV6jPQk 38:a:b", "1 38:a", "1 38:a ", "1  38:a 0", "1 38:a 0 ", "1 38:a 0 0", " 1 38:a 0", "1 38:a 00", "+1 38:a 0", "1\t38:a\t0", "1 a\x00 0", "1 a\u0080 0"} {
		if _, _, _, ok := ParseActionID(id); ok {
			t.Errorf("accepted %q", id)
		}
	}
}

// Whatever is taken apart is put together the same: no two texts are one ID.
func FuzzActionID(f *testing.F) {
	f.Add("1560954012838 38:Y7bysd:O0ETfc 0")
	f.Add("-1 a -1")
	f.Add("01 a 00")
	f.Fuzz(func(t *testing.T, text string) {
		id := ActionID(text)
		ms, node, counter, ok := ParseActionID(id)
		if !ok {
			return
		}
		if got := FormatActionID(ms, node, counter); got != id {
			t.Errorf("%q became %q", id, got)
		}
		if node != id.Node() {
			t.Errorf("%q: node %q and %q", id, node, id.Node())
		}
	})
}
