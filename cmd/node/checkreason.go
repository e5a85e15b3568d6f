package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"strings"
	"syscall"
)

// A diagnosis is what is wrong with a server that check could not use, and how to mend it.
type diagnosis struct{ wrong, mend string }

// unreachable says why no answer came from a server over the network. setting is where its address stands, authority how its
// certificate's authority is told; plain and secure are how its URL begins without TLS and with it.
func unreachable(err error, setting, authority, plain, secure string) diagnosis {
	var unknown x509.UnknownAuthorityError
	var name x509.HostnameError
	var invalid x509.CertificateInvalidError
	var noTLS tls.RecordHeaderError
	var dns *net.DNSError
	var timeout net.Error
	switch {
	case errors.As(err, &unknown):
		return diagnosis{"its certificate is signed by an authority that is not known here", "set " + authority + " to that authority's certificate"}
	case errors.As(err, &name):
		return diagnosis{"its certificate is " + certificateNames(name), "let " + setting + " have a name that is in the certificate"}
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return diagnosis{"its certificate is not valid now: " + cut(invalid.Detail, 150), "renew it, or set the clock of this machine"}
	case errors.As(err, &noTLS):
		return diagnosis{"it does not speak TLS", "write " + plain + " for " + secure + " in " + setting + ", or another port"}
	case errors.As(err, &dns):
		return diagnosis{"the name " + quote(dns.Name) + " has no address: " + dnsReason(dns), "mend the name in " + setting}
	case errors.Is(err, syscall.ECONNREFUSED):
		return diagnosis{"connection refused", "start it, or mend " + setting}
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, syscall.ECONNRESET):
		return diagnosis{"it closes the connection without an answer", "see that " + setting + " has the right port, and " + secure + " if it wants TLS"}
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &timeout) && timeout.Timeout():
		return diagnosis{"it takes too long", "see that it runs and does not hang, and that no firewall is between"}
	}
	return diagnosis{networkReason(err), "mend " + setting}
}

// certificateNames says whom a certificate is for, and whom it should be for.
func certificateNames(e x509.HostnameError) string {
	names := e.Certificate.DNSNames
	for _, ip := range e.Certificate.IPAddresses {
		names = append(names, ip.String())
	}
	if len(names) == 0 {
		names = []string{"no name at all"}
	}
	return "for " + cut(strings.Join(names, ", "), 150) + ", not for " + e.Host
}

// dnsReason is what the resolver says, without the addresses that it asked.
func dnsReason(e *net.DNSError) string {
	if e.IsNotFound {
		return "no such host"
	}
	return lastCause(e)
}

// refusedByRedis says what the word of a Redis means that will be the same the next time.
func refusedByRedis(text string) diagnosis {
	for _, known := range []struct{ part, wrong, mend string }{
		{"WRONGPASS", "the user or the password is wrong", "mend them in LOGUX_REDIS"},
		{"NOAUTH", "it wants a password", "write it into LOGUX_REDIS as redis://:PASSWORD@HOST or redis://USER:PASSWORD@HOST"},
		{"access one of the channels", "its user may not use channels that begin with ours", "let it with ACL SETUSER NAME '&logux:*', where logux: is ?prefix= of LOGUX_REDIS"},
		{"access one of the keys", "its user may not use keys that begin with ours", "let it with ACL SETUSER NAME '~logux:*', where logux: is ?prefix= of LOGUX_REDIS"},
		{"NOPERM", "", "let it with ACL SETUSER; the README lists all that is needed"},
		{"cluster support disabled", "it is no Redis Cluster", "write redis:// for redis+cluster:// in LOGUX_REDIS"},
		{"unknown command 'sentinel'", "it is no Sentinel", "name the Sentinels' port (26379 mostly) in LOGUX_REDIS, or write redis:// for a server"},
	} {
		if !strings.Contains(text, known.part) {
			continue
		}
		if known.wrong == "" {
			known.wrong = cut(strings.TrimSpace(text), 200)
		}
		return diagnosis{known.wrong, known.mend}
	}
	return diagnosis{cut(strings.TrimSpace(text), 200), "mend LOGUX_REDIS, or what the user may do (the README lists that)"}
}
