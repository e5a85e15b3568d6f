//go:build !linux

package poll

import (
	"errors"
	"net"
	"net/netip"
	"syscall"
	"time"
)

// Options are set on a listening socket. Not here: net does what it can for each connection.
type Options struct {
	NotSentLowat int
	UserTimeout  time.Duration
	KeepAlive    time.Duration
}

// Control does nothing on this system.
func (o Options) Control(_, _ string, _ syscall.RawConn) error { return nil }

// Take is not possible here.
func Take(Socket) (int, error) { return -1, errors.ErrUnsupported }

// Accept is not possible here.
func Accept(int) (int, netip.AddrPort, error) { return -1, netip.AddrPort{}, errors.ErrUnsupported }

// Read is not possible here.
func Read(int, []byte) (int, error) { return 0, errors.ErrUnsupported }

// Write is not possible here.
func Write(int, []byte) (int, error) { return 0, errors.ErrUnsupported }

// Unsent is not known here.
func Unsent(int) int { return 0 }

// FinishWrites does nothing here.
func FinishWrites(int) {}

// Close does nothing here.
func Close(int) {}

// NetConn is not possible here.
func NetConn(int) (net.Conn, error) { return nil, errors.ErrUnsupported }
