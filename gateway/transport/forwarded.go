package transport

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"net"
	"net/http"
	"net/netip"
	"strings"

	"github.com/pires/go-proxyproto"
)

// ClientAddr returns the address of the client that sent r: that of its socket, or, where that is
// a trusted proxy's, the last address of X-Forwarded-For that is not. It is for Config.Fallback,
// whose requests bear the address of a believed PROXY header in RemoteAddr already.
func ClientAddr(r *http.Request, trusted []netip.Prefix) netip.Addr {
	peer, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return netip.Addr{}
	}
	values := r.Header.Values("X-Forwarded-For")
	lists := make([][]byte, len(values))
	for i, v := range values {
		lists[i] = []byte(v)
	}
	return forwardedAddr(peer.Addr().Unmap(), lists, trusted)
}

func (s *Server) clientAddr(peer netip.Addr, forwardedFor [][]byte) netip.Addr {
	return forwardedAddr(peer, forwardedFor, s.config.TrustedProxies)
}

func (s *Server) trusts(a netip.Addr) bool { return contains(s.config.TrustedProxies, a) }

func contains(prefixes []netip.Prefix, a netip.Addr) bool {
	for _, p := range prefixes {
		if p.Contains(a) {
			return true
		}
	}
	return false
}

// forwardedAddr walks the list backwards: each proxy appended whom it saw, so an entry is worth as
// much as the proxy behind it. What stands left of the first address that is not trusted, a client
// may have written.
func forwardedAddr(peer netip.Addr, lists [][]byte, trusted []netip.Prefix) netip.Addr {
	for i := len(lists) - 1; i >= 0; i-- {
		for list := string(lists[i]); list != ""; {
			comma := strings.LastIndexByte(list, ',')
			entry := strings.Trim(list[comma+1:], " \t")
			list = list[:max(comma, 0)]
			if !contains(trusted, peer) {
				return peer
			}
			a, ok := parseForwarded(entry)
			if !ok {
				return peer
			}
			peer = a
		}
	}
	return peer
}

// parseForwarded reads an address, with a port or without.
func parseForwarded(s string) (netip.Addr, bool) {
	if a, err := netip.ParseAddr(s); err == nil {
		return a.Unmap().WithZone(""), true
	}
	if ap, err := netip.ParseAddrPort(s); err == nil {
		return ap.Addr().Unmap().WithZone(""), true
	}
	if a, err := netip.ParseAddr(strings.TrimSuffix(strings.TrimPrefix(s, "["), "]")); err == nil {
		return a.Unmap().WithZone(""), true
	}
	return netip.Addr{}, false
}

const (
	maxProxyV1 = 107 // the longest line of version 1, its end included
	// maxProxyV2 is the longest header of version 2: room for the addresses and a few hundred bytes of additions.
	maxProxyV2 = 16 + 2048
)

// readProxyHeader reads the PROXY protocol header (version 1 or 2) that data may begin with. It
// returns whom the header names (nobody for a proxy's own connections) and the header's length, 0
// when there is none, -1 when more bytes are needed to tell.
func readProxyHeader(data []byte) (netip.AddrPort, int, *refusal) {
	size := 0
	switch {
	case startsLike(data, proxyproto.SIGV1):
		end := bytes.IndexByte(data[:min(len(data), maxProxyV1)], '\n')
		switch {
		case end >= 0:
			size = end + 1
		case len(data) >= maxProxyV1:
			return netip.AddrPort{}, 0, badProxy
		default:
			return netip.AddrPort{}, -1, nil
		}
	case startsLike(data, proxyproto.SIGV2):
		if len(data) < 16 {
			return netip.AddrPort{}, -1, nil
		}
		size = 16 + int(binary.BigEndian.Uint16(data[14:]))
		switch {
		case size > maxProxyV2:
			return netip.AddrPort{}, 0, badProxy
		case len(data) < size:
			return netip.AddrPort{}, -1, nil
		}
	default:
		return netip.AddrPort{}, 0, nil
	}
	h, err := proxyproto.Read(bufio.NewReaderSize(bytes.NewReader(data[:size]), size))
	if err != nil {
		return netip.AddrPort{}, 0, badProxy
	}
	if h.Command.IsLocal() {
		return netip.AddrPort{}, size, nil
	}
	if tcp, ok := h.SourceAddr.(*net.TCPAddr); ok {
		a := tcp.AddrPort()
		return netip.AddrPortFrom(a.Addr().Unmap(), a.Port()), size, nil
	}
	return netip.AddrPort{}, size, nil
}

// startsLike reports whether data begins with signature, as far as it has arrived.
func startsLike(data, signature []byte) bool {
	n := min(len(data), len(signature))
	return n > 0 && bytes.Equal(data[:n], signature[:n])
}
