//go:build linux

// Command bare is the floor that the load test compares with: the least that a program can do to
// deliver Logux actions over WebSockets on this machine. It has one epoll loop, two bytes per connection,
// one write per delivery, and neither back-end nor checks nor bounds. It is no server for anybody's data.
package main

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"os"
	"strconv"
	"time"

	"github.com/gobwas/ws"
	"golang.org/x/sys/unix"
)

func main() {
	port, err := strconv.Atoi(os.Getenv("LOGUX_PORT"))
	if err == nil {
		err = (&bare{channels: make(map[string][]int32), partial: make(map[int32][]byte)}).serve(port)
	}
	fmt.Fprintln(os.Stderr, "bare:", err)
	os.Exit(1)
}

// A bare is the whole program.
type bare struct {
	epoll    int
	conns    []uint16           // by descriptor: upgraded, and how many messages were sent
	channels map[string][]int32 // descriptors of subscribers; those of closed ones leave with the next publication
	partial  map[int32][]byte   // requests and frames that are not complete
	in       [64 << 10]byte
	out      []byte
	text     []byte
}

// upgraded is set in an entry of conns for a WebSocket; the other bits count.
const upgraded = 1 << 15

func (b *bare) serve(port int) error {
	listener, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	if err := unix.SetsockoptInt(listener, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1); err != nil {
		return err
	}
	if err := unix.Bind(listener, &unix.SockaddrInet4{Port: port, Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		return err
	}
	if err := unix.Listen(listener, 4096); err != nil {
		return err
	}
	if b.epoll, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
		return err
	}
	if err := b.watch(listener); err != nil {
		return err
	}
	events := make([]unix.EpollEvent, 256)
	for {
		n, err := unix.EpollWait(b.epoll, events, -1)
		if err != nil && err != unix.EINTR {
			return err
		}
		for _, event := range events[:max(n, 0)] {
			if int(event.Fd) == listener {
				b.accept(listener)
			} else {
				b.read(event.Fd)
			}
		}
	}
}

func (b *bare) watch(fd int) error {
	return unix.EpollCtl(b.epoll, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{Fd: int32(fd), Events: unix.EPOLLIN})
}

func (b *bare) accept(listener int) {
	for {
		fd, _, err := unix.Accept4(listener, unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC)
		if err != nil {
			return
		}
		_ = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)
		for len(b.conns) <= fd {
			b.conns = append(b.conns, 0)
		}
		b.conns[fd] = 0
		if b.watch(fd) != nil {
			_ = unix.Close(fd)
		}
	}
}

func (b *bare) close(fd int32) {
	b.conns[fd] = 0
	delete(b.partial, fd)
	_ = unix.Close(int(fd))
}

func (b *bare) read(fd int32) {
	n, err := unix.Read(int(fd), b.in[:])
	if err == unix.EAGAIN || err == unix.EINTR {
		return
	}
	if err != nil || n == 0 {
		b.close(fd)
		return
	}
	data := b.in[:n]
	if before, ok := b.partial[fd]; ok {
		data = append(before, data...)
		delete(b.partial, fd)
	}
	b.out = b.out[:0]
	for len(data) > 0 {
		var size int
		if b.conns[fd]&upgraded != 0 {
			size = b.frame(fd, data)
		} else {
			size = b.request(fd, data)
		}
		if size < 0 {
			b.close(fd)
			return
		}
		if size == 0 {
			b.partial[fd] = bytes.Clone(data)
			break
		}
		data = data[size:]
	}
	b.flush(fd)
}

// flush writes out. What the socket does not take is not kept: the connection ends.
func (b *bare) flush(fd int32) {
	if len(b.out) == 0 {
		return
	}
	if n, err := unix.Write(int(fd), b.out); err != nil || n < len(b.out) {
		b.close(fd)
	}
}

// request handles an upgrade or a call of the control API. It returns the size of the request, 0 when it is
// not complete, and -1 for what it does not understand.
func (b *bare) request(fd int32, data []byte) (size int) {
	head, body, complete := bytes.Cut(data, []byte("\r\n\r\n"))
	if !complete {
		return 0
	}
	size = len(head) + len("\r\n\r\n")
	if bytes.HasPrefix(head, []byte("POST ")) {
		_, value, _ := bytes.Cut(head, []byte("\r\nContent-Length: "))
		value, _, _ = bytes.Cut(value, []byte("\r\n"))
		length, err := strconv.Atoi(string(value))
		if err != nil {
			return -1
		}
		if len(body) < length {
			return 0
		}
		b.publish(body[:length])
		b.out = append(b.out[:0], "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"...)
		return size + length
	}
	if _, err := ws.Upgrade(&handshake{Reader: bytes.NewReader(data[:size]), out: &b.out}); err != nil {
		return -1
	}
	b.conns[fd] |= upgraded
	return size
}

// A handshake is a request that is there whole, with a response that flush will write.
type handshake struct {
	*bytes.Reader
	out *[]byte
}

func (h *handshake) Write(p []byte) (int, error) {
	*h.out = append(*h.out, p...)
	return len(p), nil
}

// frame handles one frame of a client and returns its size as request does.
func (b *bare) frame(fd int32, data []byte) (size int) {
	if len(data) < 6 {
		return 0
	}
	length, head := int(data[1]&0x7f), 2
	switch length {
	case 126:
		length, head = int(binary.BigEndian.Uint16(data[2:])), 4
	case 127:
		return -1
	}
	if size = head + 4 + length; len(data) < size {
		return 0
	}
	payload := data[head+4 : size]
	ws.Cipher(payload, [4]byte(data[head:]), 0)
	switch ws.OpCode(data[0] & 0x0f) {
	case ws.OpText:
		b.message(fd, payload)
	case ws.OpClose:
		return -1
	}
	return size
}

// message handles one message of the Logux protocol; answers are added to out.
func (b *bare) message(fd int32, text []byte) {
	switch {
	case bytes.HasPrefix(text, []byte(`["connect",`)):
		at := time.Now().UnixMilli()
		b.answer(fmt.Appendf(b.text[:0], `["connected",4,"server:bare",[%d,%d],{"subprotocol":"1.0.0"}]`, at, at))
	case bytes.HasPrefix(text, []byte(`["ping",`)):
		b.answer(append(append(b.text[:0], `["pong",`...), text[len(`["ping",`):]...))
	case bytes.HasPrefix(text, []byte(`["sync",`)):
		added, action, _ := bytes.Cut(text[len(`["sync",`):], []byte{','})
		if bytes.HasPrefix(action, []byte(`{"type":"logux/subscribe","channel":"`)) {
			channel, _, _ := bytes.Cut(action[len(`{"type":"logux/subscribe","channel":"`):], []byte{'"'})
			b.channels[string(channel)] = append(b.channels[string(channel)], fd)
		}
		if bytes.HasPrefix(action, []byte(`{"type":"bench/pub",`)) {
			b.resend(action)
			b.out = b.out[:0]
		}
		b.answer(append(append(append(b.text[:0], `["synced",`...), added...), ']'))
		b.sync(fd, []byte(`{"type":"logux/processed","id":"1 1:c:t 0"}`))
	}
}

// answer adds a message to out.
func (b *bare) answer(text []byte) {
	b.text = text
	if len(text) < 126 {
		b.out = append(b.out, 0x80|byte(ws.OpText), byte(len(text)))
	} else {
		b.out = append(b.out, 0x80|byte(ws.OpText), 126)
		b.out = binary.BigEndian.AppendUint16(b.out, uint16(len(text)))
	}
	b.out = append(b.out, text...)
}

// sync adds an action for fd to out.
func (b *bare) sync(fd int32, action []byte) {
	b.conns[fd] = upgraded | (b.conns[fd]+1)&^upgraded
	text := append(b.text[:0], `["sync",`...)
	text = strconv.AppendUint(text, uint64(b.conns[fd]&^upgraded), 10)
	text = append(text, ',')
	text = append(text, action...)
	b.answer(append(text, `,{"id":[1234,"server:bare",0],"time":1234}]`...))
}

// publish sends the action of a control request to the subscribers of its channel, one write each.
func (b *bare) publish(body []byte) {
	_, rest, _ := bytes.Cut(body, []byte(`"action":{`))
	end := bytes.Index(rest, []byte(`},"meta":{"channels":["`))
	if end < 0 {
		return
	}
	channel, _, _ := bytes.Cut(rest[end+len(`},"meta":{"channels":["`):], []byte{'"'})
	b.deliver(channel, body[len(body)-len(rest)-1:][:end+2])
}

// resend does the same with an action of a client, which names the channel.
func (b *bare) resend(action []byte) {
	end := bytes.IndexByte(action, '}') + 1
	_, channel, _ := bytes.Cut(action[:end], []byte(`"channel":"`))
	channel, _, _ = bytes.Cut(channel, []byte{'"'})
	b.deliver(channel, action[:end])
}

func (b *bare) deliver(channel, action []byte) {
	members := b.channels[string(channel)]
	kept := members[:0]
	for _, fd := range members {
		if b.conns[fd]&upgraded == 0 {
			continue
		}
		b.out = b.out[:0]
		b.sync(fd, action)
		b.flush(fd)
		kept = append(kept, fd)
	}
	b.channels[string(channel)] = kept
}
