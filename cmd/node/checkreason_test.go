package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"syscall"
	"testing"
)

func TestUnreachable(t *testing.T) {
	for _, c := range []struct {
		err         error
		wrong, mend string
	}{
		{x509.UnknownAuthorityError{}, "an authority that is not known here", "set THE_CA to"},
		{x509.HostnameError{Certificate: &x509.Certificate{DNSNames: []string{"a", "b"}}, Host: "c"}, "its certificate is for a, b, not for c", "let SETTING have"},
		{x509.HostnameError{Certificate: &x509.Certificate{IPAddresses: []net.IP{netip.MustParseAddr("10.0.0.1").AsSlice()}}, Host: "c"}, "is for 10.0.0.1, not", ""},
		{x509.HostnameError{Certificate: &x509.Certificate{}, Host: "c"}, "for no name at all, not for c", ""},
		{x509.CertificateInvalidError{Reason: x509.Expired, Detail: "current time is after"}, "not valid now: current time is after", "renew it"},
		{tls.RecordHeaderError{}, "does not speak TLS", "write http:// for https:// in SETTING"},
		{&net.DNSError{Name: "nowhere", Err: "no such host", IsNotFound: true}, `"nowhere" has no address: no such host`, "mend the name in SETTING"},
		{syscall.ECONNREFUSED, "connection refused", "start it, or mend SETTING"},
		{io.EOF, "closes the connection without an answer", "https:// if it wants TLS"},
		{syscall.ECONNRESET, "closes the connection without an answer", ""},
		{context.DeadlineExceeded, "it takes too long", "firewall"},
		{errors.New("something else"), "something else", "mend SETTING"},
	} {
		got := unreachable(fmt.Errorf("doing: %w", c.err), "SETTING", "THE_CA", "http://", "https://")
		if !strings.Contains(got.wrong, c.wrong) || !strings.Contains(got.mend, c.mend) {
			t.Errorf("%v: %+v", c.err, got)
		}
	}
}

func TestRefusedByRedis(t *testing.T) {
	for answer, want := range map[string]string{
		"WRONGPASS invalid username-password pair":                                                "password is wrong; mend them",
		"NOAUTH Authentication required.":                                                         "wants a password; write it",
		"NOPERM this user has no permissions to access one of the channels used as arguments":     "ACL SETUSER NAME '&logux:*'",
		"NOPERM No permissions to access one of the keys used as arguments":                       "ACL SETUSER NAME '~logux:*'",
		"NOPERM this user has no permissions to run the 'pubsub|numsub' command":                  "'pubsub|numsub' command; let it with ACL SETUSER",
		"ERR This instance has cluster support disabled":                                          "no Redis Cluster; write redis://",
		"ERR unknown command 'sentinel', with args beginning with: 'get-master-addr-by-name' 'm'": "no Sentinel; name",
		"ERR what nobody knows": "ERR what nobody knows; mend LOGUX_REDIS",
	} {
		if got := refusedByRedis(answer); !strings.Contains(got.wrong+"; "+got.mend, want) {
			t.Errorf("%s: %+v", answer, got)
		}
	}
}

// What the address of a Redis leads to is told from each other.
func TestCheckRedisSays(t *testing.T) {
	redis, nobody := freeAddr(t), freeAddr(t)
	startRedis(t, redis)
	other, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = other.Close() }()
	go func() {
		for {
			conn, err := other.Accept()
			if err != nil {
				return
			}
			_, _ = conn.Read(make([]byte, 1024))
			_, _ = io.WriteString(conn, "HTTP/1.1 400 Bad Request\r\n\r\n")
			_ = conn.Close()
		}
	}()
	for url, say := range map[string]string{
		"redis://" + nobody:                  nobody + ": connection refused; start it, or mend LOGUX_REDIS",
		"redis://" + other.Addr().String():   "what answers there is no Redis; mend the port",
		"redis+cluster://" + redis:           "it is no Redis Cluster; write redis://",
		"redis+sentinel://" + redis + "/the": "it is no Sentinel; name the Sentinels' port",
	} {
		env := with("LOGUX_BACKEND", "http://"+nobody, "LOGUX_PORT", "0", "LOGUX_ADMIN_ADDR", "off", "LOGUX_REDIS", url)
		if out, _, code := command(t, env, "", "check"); code != exitFailed || !strings.Contains(out, say) || strings.Count(out, "wrong  Redis ") != 1 {
			t.Errorf("%s: %d %s", url, code, out)
		}
	}
}

// A node with another key, or of another cluster, takes connections and no gossip.
func TestCheckPeerWithAnotherKey(t *testing.T) {
	const key, another = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAE="
	redis := freeAddr(t)
	startRedis(t, redis)
	peer := startNode(t, "http://127.0.0.1:1", "redis://"+redis, "LOGUX_GOSSIP_KEY", key)
	for _, c := range []struct{ key, name, say string }{
		{key, "logux", "ok     peers        " + peer.gossip + " answers, by TCP and by UDP"},
		{another, "logux", "wrong  peers        " + peer.gossip + " takes connections but no gossip of this node; see that LOGUX_GOSSIP_KEY"},
		{key, "blue", "wrong  peers        " + peer.gossip + " takes connections but no gossip"},
	} {
		env := with("LOGUX_BACKEND", "http://127.0.0.1:1", "LOGUX_PORT", "0", "LOGUX_ADMIN_ADDR", "off", "LOGUX_REDIS", "redis://"+redis,
			"LOGUX_GOSSIP_ADDR", freeAddr(t), "LOGUX_GOSSIP_KEY", c.key, "LOGUX_CLUSTER", c.name, "LOGUX_JOIN", peer.gossip)
		if out, _, _ := command(t, env, "", "check"); !strings.Contains(out, c.say) {
			t.Errorf("%s: %s", c.say, out)
		}
	}
	if text := page(t, peer.admin+"metrics"); len(look(t, peer).Nodes) != 1 || !strings.Contains(text, "\nlogux_members_joined_total 0\n") {
		t.Errorf("the check became a node: %+v", look(t, peer).Nodes)
	}
}
