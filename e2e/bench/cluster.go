//go:build linux

package main

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// A cluster is nodes with a Redis between them, all on this machine.
type cluster struct {
	nodes []*server
	redis *redis
}

// startCluster starts n nodes and returns when they see each other and Redis.
func (p program) startCluster(ctx context.Context, o *options, backend string, n int) (c *cluster, err error) {
	c = new(cluster)
	defer func() {
		if err != nil {
			c.stop()
		}
	}()
	if c.redis, err = startRedis(ctx); err != nil {
		return nil, err
	}
	gossip := make([]string, n)
	for i := range gossip {
		if gossip[i], err = gossipAddr(ctx); err != nil {
			return nil, err
		}
	}
	for i, addr := range gossip {
		s, err := p.start(ctx, o, backend, fmt.Sprint("LOGUX_ID=bench-", i+1), "LOGUX_REDIS=redis://"+c.redis.addr.String(),
			"LOGUX_GOSSIP_ADDR="+addr, "LOGUX_JOIN="+strings.Join(gossip, ","), "LOGUX_DRAIN_GRACE=0s", "LOGUX_DRAIN_TIME=0s")
		if err != nil {
			return nil, err
		}
		c.nodes = append(c.nodes, s)
	}
	limit := time.Now().Add(30 * time.Second)
	for !c.together() {
		if time.Now().After(limit) || ctx.Err() != nil {
			return nil, errors.Join(ctx.Err(), c.died(), errors.New("the nodes did not find each other and Redis"))
		}
		time.Sleep(50 * time.Millisecond)
	}
	return c, nil
}

// together reports whether each node sees all others and Redis.
func (c *cluster) together() bool {
	for _, s := range c.nodes {
		if seen, err := s.overview(); err != nil || len(seen.Nodes) != len(c.nodes) || seen.Bus.State != "ok" {
			return false
		}
	}
	return true
}

// stop ends all that was started.
func (c *cluster) stop() {
	for _, s := range c.nodes { // at the same time
		_ = s.cmd.Process.Signal(syscall.SIGINT)
	}
	for _, s := range c.nodes {
		s.stop()
	}
	if c.redis != nil {
		c.redis.stop()
	}
}

// died reports whether something has ended by itself.
func (c *cluster) died() (err error) {
	for _, s := range c.nodes {
		err = errors.Join(err, s.died())
	}
	return err
}

// addrs are those of the nodes, for clients and control API.
func (c *cluster) addrs() []netip.AddrPort {
	var all []netip.AddrPort
	for _, s := range c.nodes {
		all = append(all, s.client)
	}
	return all
}

// A usage is what the parts of a cluster have used and done since they started.
type usage struct {
	at       int64
	cpu      []time.Duration // by node
	received []int64         // envelopes, by node
	redisCPU time.Duration
	commands commands
}

func (c *cluster) usage() (u usage, err error) {
	for _, s := range c.nodes {
		seen, err := s.overview()
		if err != nil {
			return u, err
		}
		u.received = append(u.received, seen.Bus.Received)
	}
	if u.commands, err = c.redis.commands(); err != nil {
		return u, err
	}
	for _, s := range c.nodes {
		u.cpu = append(u.cpu, s.process.cpu())
	}
	u.redisCPU, u.at = c.redis.process.cpu(), now()
	return u, nil
}

// since is what was used and done after before.
func (u usage) since(before usage) usage {
	d := usage{at: u.at - before.at, redisCPU: u.redisCPU - before.redisCPU, commands: make(commands)}
	for i := range u.cpu {
		d.cpu = append(d.cpu, u.cpu[i]-before.cpu[i])
		d.received = append(d.received, u.received[i]-before.received[i])
	}
	for name, n := range u.commands {
		d.commands[name] = n - before.commands[name]
	}
	return d
}

// nodesCPU is that of the nodes from one on up to another.
func (u usage) nodesCPU(from, to int) (sum time.Duration) {
	for _, t := range u.cpu[from:to] {
		sum += t
	}
	return sum
}

// An overview is what a node says of its cluster.
type overview struct {
	Nodes []struct {
		ID string `json:"id"`
	} `json:"nodes"`
	Bus struct {
		State    string `json:"state"`
		Received int64  `json:"received"`
	} `json:"bus"`
}

var admins = http.Client{Timeout: 5 * time.Second}

func (s *server) overview() (o overview, err error) {
	res, err := admins.Get("http://" + s.admin + "/cluster.json")
	if err != nil {
		return o, err
	}
	defer func() { _ = res.Body.Close() }()
	if res.StatusCode != http.StatusOK {
		return o, fmt.Errorf("%s: /cluster.json: %s", s.name, res.Status)
	}
	return o, json.NewDecoder(res.Body).Decode(&o)
}

// A redis is a redis-server that keeps nothing.
type redis struct {
	addr    netip.AddrPort
	process process
	cmd     *exec.Cmd
	exited  chan struct{}
}

func startRedis(ctx context.Context) (*redis, error) {
	port, err := freePort(ctx)
	if err != nil {
		return nil, err
	}
	r := &redis{addr: netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), port), exited: make(chan struct{})}
	r.cmd = exec.CommandContext(ctx, redisServer, "--port", strconv.Itoa(int(port)), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--loglevel", "warning")
	r.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := r.cmd.Start(); err != nil {
		return nil, fmt.Errorf("starting %s: %w", redisServer, err)
	}
	r.process = process{pid: r.cmd.Process.Pid}
	go func() {
		_ = r.cmd.Wait()
		close(r.exited)
	}()
	limit := time.Now().Add(10 * time.Second)
	for {
		_, err := r.commands()
		if err == nil {
			return r, nil
		}
		select {
		case <-r.exited:
			return nil, fmt.Errorf("%s ended at once", redisServer)
		case <-time.After(20 * time.Millisecond):
		}
		if time.Now().After(limit) {
			r.stop()
			return nil, fmt.Errorf("%s does not answer: %w", redisServer, err)
		}
	}
}

const redisServer = "redis-server"

func (r *redis) stop() {
	_ = r.cmd.Process.Kill()
	<-r.exited
}

// commands counts calls by the name of the command, as in "publish" or "script|load". Those that a script makes count as well.
type commands map[string]int64

// commands asks Redis for what it has done. The question itself is left out.
func (r *redis) commands() (commands, error) {
	conn, err := net.DialTimeout("tcp", r.addr.String(), time.Second)
	if err != nil {
		return nil, err
	}
	defer func() { _ = conn.Close() }()
	_ = conn.SetDeadline(time.Now().Add(5 * time.Second))
	if _, err := io.WriteString(conn, "INFO commandstats\r\n"); err != nil {
		return nil, err
	}
	in := bufio.NewReader(conn)
	head, err := in.ReadString('\n')
	if err != nil {
		return nil, err
	}
	size, err := strconv.Atoi(strings.Trim(head, "$\r\n"))
	if err != nil || size < 0 || size > 1<<20 {
		return nil, fmt.Errorf("reading what Redis has done: %q: %w", head, cmp.Or(err, errors.New("no text follows")))
	}
	text := make([]byte, size)
	if _, err := io.ReadFull(in, text); err != nil {
		return nil, err
	}
	return parseCommands(string(text)), nil
}

func parseCommands(text string) commands {
	c := make(commands)
	for line := range strings.Lines(text) {
		name, rest, ok := strings.Cut(strings.TrimPrefix(line, "cmdstat_"), ":calls=")
		if !ok || name == "info" {
			continue
		}
		n, _ := number([]byte(rest))
		c[name] = n
	}
	return c
}

// gossipAddr is an address at which nobody listens, by TCP or UDP.
func gossipAddr(ctx context.Context) (string, error) {
	for range 20 {
		port, err := freePort(ctx)
		if err != nil {
			return "", err
		}
		addr := fmt.Sprint("127.0.0.1:", port)
		if l, err := new(net.ListenConfig).ListenPacket(ctx, "udp", addr); err == nil {
			return addr, l.Close()
		}
	}
	return "", errors.New("no port is free by TCP and UDP")
}
