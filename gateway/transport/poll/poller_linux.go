package poll

import (
	"errors"
	"fmt"
	"math"
	"runtime"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Native reports whether this system's Poller watches descriptors.
const Native = true

// wakeToken marks the eventfd's own events; Add's callers never use it.
const wakeToken = math.MaxUint64

// maxEvents is how many events one Wait takes from the kernel: enough to spread the cost of the
// call, small enough that tasks posted meanwhile do not wait for a long batch.
const maxEvents = 256

// A Poller watches descriptors. Wake may be called by any goroutine; everything else is for the
// one that waits.
type Poller struct {
	epfd   int
	wakefd int
	raw    [maxEvents]unix.EpollEvent
}

// New opens a Poller.
func New() (*Poller, error) {
	epfd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("poll: epoll_create1: %w", err)
	}
	wakefd, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		_ = unix.Close(epfd)
		return nil, fmt.Errorf("poll: eventfd: %w", err)
	}
	p := &Poller{epfd: epfd, wakefd: wakefd}
	if err := p.Add(wakefd, wakeToken, In); err != nil {
		_ = p.Close()
		return nil, err
	}
	return p, nil
}

// Close releases the Poller. No other call may be under way or follow.
func (p *Poller) Close() error {
	return errors.Join(unix.Close(p.wakefd), unix.Close(p.epfd))
}

// Add watches fd. Events are level-triggered: one is reported as long as its cause lasts.
func (p *Poller) Add(fd int, token uint64, i Interest) error {
	return p.control(unix.EPOLL_CTL_ADD, fd, token, i)
}

// Change replaces the interest (and the token) of a watched descriptor. With no interest only Broken is
// reported.
func (p *Poller) Change(fd int, token uint64, i Interest) error {
	return p.control(unix.EPOLL_CTL_MOD, fd, token, i)
}

// Remove stops watching fd. Closing the last copy of a descriptor does the same.
func (p *Poller) Remove(fd int) error {
	return p.control(unix.EPOLL_CTL_DEL, fd, 0, 0)
}

func (p *Poller) control(op, fd int, token uint64, i Interest) error {
	var ev unix.EpollEvent
	if i&In != 0 {
		ev.Events |= unix.EPOLLIN | unix.EPOLLRDHUP
	}
	if i&Out != 0 {
		ev.Events |= unix.EPOLLOUT
	}
	ev.Fd = int32(uint32(token))
	ev.Pad = int32(uint32(token >> 32))
	_, _, errno := unix.RawSyscall6(unix.SYS_EPOLL_CTL, uintptr(p.epfd), uintptr(op), uintptr(fd), uintptr(unsafe.Pointer(&ev)), 0, 0)
	if errno != 0 {
		return fmt.Errorf("poll: epoll_ctl: %w", errno)
	}
	return nil
}

// Wait fills events and returns how many. It returns 0 after Wake, and when timeout (rounded up
// to milliseconds) has passed; a negative timeout is none, 0 only looks.
func (p *Poller) Wait(events []Event, timeout time.Duration) (int, error) {
	// Looking first costs little when there is work, and spares the scheduler the hand-over of
	// this goroutine's processor that a blocking system call may bring.
	room := uintptr(min(len(events), maxEvents))
	r, _, errno := unix.RawSyscall6(unix.SYS_EPOLL_PWAIT, uintptr(p.epfd), uintptr(unsafe.Pointer(&p.raw)), room, 0, 0, 0)
	if errno != 0 || r != 0 || timeout == 0 {
		return p.take(events, int(r), errno)
	}
	msec := -1
	if timeout > 0 {
		msec = int(min((timeout+time.Millisecond-1)/time.Millisecond, math.MaxInt32))
	}
	runtime.Gosched()
	r, _, errno = unix.Syscall6(unix.SYS_EPOLL_PWAIT, uintptr(p.epfd), uintptr(unsafe.Pointer(&p.raw)), room, uintptr(msec), 0, 0)
	return p.take(events, int(r), errno)
}

// take turns what the kernel reported into events. A wake-up is none, but it has ended the Wait.
func (p *Poller) take(events []Event, n int, errno unix.Errno) (int, error) {
	if errno == unix.EINTR {
		return 0, nil
	}
	if errno != 0 {
		return 0, fmt.Errorf("poll: epoll_wait: %w", errno)
	}
	k := 0
	for i := range n {
		raw := &p.raw[i]
		token := uint64(uint32(raw.Fd)) | uint64(uint32(raw.Pad))<<32
		if token == wakeToken {
			var count uint64
			_, _, _ = unix.RawSyscall(unix.SYS_READ, uintptr(p.wakefd), uintptr(unsafe.Pointer(&count)), 8)
			continue
		}
		events[k] = Event{
			Token:    token,
			Readable: raw.Events&(unix.EPOLLIN|unix.EPOLLRDHUP) != 0,
			Writable: raw.Events&unix.EPOLLOUT != 0,
			Broken:   raw.Events&(unix.EPOLLERR|unix.EPOLLHUP) != 0,
		}
		k++
	}
	return k, nil
}

// Wake makes the Wait under way, or else the next one, return soon.
func (p *Poller) Wake() {
	one := uint64(1)
	// The only failure is a counter that is full, and then a wake-up is under way.
	_, _, _ = unix.RawSyscall(unix.SYS_WRITE, uintptr(p.wakefd), uintptr(unsafe.Pointer(&one)), 8)
}
