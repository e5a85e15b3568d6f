package wire

import "testing"

// A decoder allocates nothing for the usual messages.
func TestDecodeAllocatesNothing(t *testing.T) {
	for _, text := range []string{
		`["ping",1]`,
		`["pong",1487805099387]`,
		`["synced",7]`,
		`[ "synced" , 7e0 ]`,
		`["sync",1,{"type":"counter/inc"},{"id":1,"time":1}]`,
		`["sync",3,{"type":"posts/add","post":{"id":"a","tags":["x","y"],"\u0074itle":"\"\\"}},{"id":[-5,"38:Y7bysd:O0ETfc",1],"time":-5,"subprotocol":"1.0.0"},` +
			`{"type":"logux\/subscribe","channel":"posts"},{"id":[8,2],"time":8},{"a":null,"type":"b"},{"time":1,"id":2,"users":["1"]}]`,
		`["connect",5,"38:Y7bysd:O0ETfc",0,{"subprotocol":10,"token":"secret"}]`,
		`["headers",{"locale":"en"}]`,
		`["error","timeout",70000]`,
		`["debug","error","text"]`,
	} {
		var d Decoder
		var m Message
		message := []byte(text)
		if err := d.Decode(message, &m); err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		if n := testing.AllocsPerRun(100, func() {
			if err := d.Decode(message, &m); err != nil {
				t.Error(err)
			}
		}); n != 0 {
			t.Errorf("%s: %v allocations", text, n)
		}
	}
}
