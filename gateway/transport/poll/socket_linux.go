package poll

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Options are set on a listening socket; the kernel copies them to each accepted one, so that they
// cost no system call there.
type Options struct {
	NotSentLowat int           // bytes unsent in the kernel above which a write would block
	UserTimeout  time.Duration // how long sent bytes may stay unacknowledged before the connection breaks
	KeepAlive    time.Duration // silence after which the kernel probes the peer
}

// Control applies o to a socket before it is bound; its signature is that of net.ListenConfig.Control
// bound to o.
func (o Options) Control(_, _ string, c syscall.RawConn) error {
	var err error
	set := func(level, opt, value int) {
		if err == nil {
			err = opts{level, opt}.set(c, value)
		}
	}
	set(unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)
	set(unix.IPPROTO_TCP, unix.TCP_NOTSENT_LOWAT, o.NotSentLowat)
	set(unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(o.UserTimeout/time.Millisecond))
	set(unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1)
	set(unix.IPPROTO_TCP, unix.TCP_KEEPIDLE, int(o.KeepAlive/time.Second))
	set(unix.IPPROTO_TCP, unix.TCP_KEEPINTVL, int(o.KeepAlive/time.Second))
	set(unix.IPPROTO_TCP, unix.TCP_KEEPCNT, 4)
	return err
}

type opts struct{ level, name int }

func (o opts) set(c syscall.RawConn, value int) error {
	var err error
	if cerr := c.Control(func(fd uintptr) {
		err = unix.SetsockoptInt(int(fd), o.level, o.name, value)
	}); cerr != nil {
		return fmt.Errorf("poll: socket: %w", cerr)
	}
	if err != nil {
		return fmt.Errorf("poll: setsockopt %d/%d: %w", o.level, o.name, err)
	}
	return nil
}

// Take returns a descriptor of s that belongs to the caller, and closes s: the socket lives on,
// outside of Go's own poller.
func Take(s Socket) (int, error) {
	c, err := s.SyscallConn()
	if err != nil {
		return -1, fmt.Errorf("poll: taking a socket over: %w", err)
	}
	fd := -1
	var dupErr error
	if err := c.Control(func(sock uintptr) { fd, dupErr = unix.FcntlInt(sock, unix.F_DUPFD_CLOEXEC, 0) }); err != nil {
		return -1, fmt.Errorf("poll: taking a socket over: %w", err)
	}
	if dupErr != nil {
		return -1, fmt.Errorf("poll: dup: %w", dupErr)
	}
	if err := s.Close(); err != nil {
		_ = unix.Close(fd)
		return -1, fmt.Errorf("poll: taking a socket over: %w", err)
	}
	return fd, nil
}

// Accept takes a connection from a listening descriptor, non-blocking like every descriptor of this
// package. It returns ErrAgain when none waits and ErrTooManyFiles when no descriptor is free;
// any other error is the fate of one connection or of the listener itself, which is broken when
// Accept keeps failing.
func Accept(fd int) (int, netip.AddrPort, error) {
	for {
		var sa unix.RawSockaddrAny
		n := uint32(unix.SizeofSockaddrAny)
		r, _, errno := unix.RawSyscall6(unix.SYS_ACCEPT4, uintptr(fd), uintptr(unsafe.Pointer(&sa)), uintptr(unsafe.Pointer(&n)),
			unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0, 0)
		switch errno {
		case 0:
			return int(r), address(&sa), nil
		case unix.EINTR, unix.ECONNABORTED:
			continue
		case unix.EAGAIN:
			return -1, netip.AddrPort{}, ErrAgain
		case unix.EMFILE, unix.ENFILE, unix.ENOBUFS, unix.ENOMEM:
			return -1, netip.AddrPort{}, ErrTooManyFiles
		default:
			return -1, netip.AddrPort{}, fmt.Errorf("poll: accept: %w", errno)
		}
	}
}

func address(sa *unix.RawSockaddrAny) netip.AddrPort {
	switch sa.Addr.Family {
	case unix.AF_INET:
		in := (*unix.RawSockaddrInet4)(unsafe.Pointer(sa))
		return netip.AddrPortFrom(netip.AddrFrom4(in.Addr), port(&in.Port))
	case unix.AF_INET6:
		in := (*unix.RawSockaddrInet6)(unsafe.Pointer(sa))
		return netip.AddrPortFrom(netip.AddrFrom16(in.Addr).Unmap(), port(&in.Port))
	default:
		return netip.AddrPort{}
	}
}

// port reads a port, which is in network order whatever its Go type says.
func port(p *uint16) uint16 { return binary.BigEndian.Uint16((*[2]byte)(unsafe.Pointer(p))[:]) }

// Read reads what there is. 0 without an error is the end of the stream.
func Read(fd int, b []byte) (int, error) {
	for {
		r, _, errno := unix.RawSyscall(unix.SYS_READ, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)))
		switch errno {
		case 0:
			return int(r), nil
		case unix.EINTR:
			continue
		case unix.EAGAIN:
			return 0, ErrAgain
		default:
			return 0, errno
		}
	}
}

// Write writes what fits. It never raises SIGPIPE.
func Write(fd int, b []byte) (int, error) {
	for {
		r, _, errno := unix.RawSyscall6(unix.SYS_SENDTO, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)), unix.MSG_NOSIGNAL, 0, 0)
		switch errno {
		case 0:
			return int(r), nil
		case unix.EINTR:
			continue
		case unix.EAGAIN:
			return 0, ErrAgain
		default:
			return 0, errno
		}
	}
}

// Unsent is how many bytes of a connection's output are in the kernel, sent ones that the peer has
// not acknowledged included.
func Unsent(fd int) int {
	n, err := unix.IoctlGetInt(fd, unix.SIOCOUTQ)
	if err != nil {
		return 0
	}
	return n
}

// FinishWrites tells the peer that no more bytes follow; reading goes on.
func FinishWrites(fd int) {
	// Only a socket that is not connected any more refuses, and then there is nobody to tell.
	_ = unix.Shutdown(fd, unix.SHUT_WR)
}

// Close closes fd.
func Close(fd int) {
	// Linux frees the descriptor whatever close reports, and a socket has nothing left to flush.
	_ = unix.Close(fd)
}

// NetConn turns a connected descriptor into a net.Conn. fd belongs to it, or is closed, afterwards.
func NetConn(fd int) (net.Conn, error) {
	f := os.NewFile(uintptr(fd), "socket")
	if f == nil {
		return nil, errors.New("poll: not a descriptor")
	}
	c, err := net.FileConn(f)
	if cerr := f.Close(); err == nil && cerr != nil {
		_ = c.Close()
		err = cerr
	}
	if err != nil {
		return nil, fmt.Errorf("poll: net.FileConn: %w", err)
	}
	return c, nil
}
