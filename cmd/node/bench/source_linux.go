package bench

import (
	"syscall"

	"golang.org/x/sys/unix"
)

// bindWithoutPort lets the kernel choose the port when it knows where the connection goes. Otherwise it would choose one that is free
// for all destinations, of which an address has fewer.
func bindWithoutPort(_, _ string, c syscall.RawConn) error {
	var err error
	if controlErr := c.Control(func(fd uintptr) {
		err = unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_BIND_ADDRESS_NO_PORT, 1)
	}); controlErr != nil {
		return controlErr
	}
	return err
}
