package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"time"
)

// A cluster is the proxies of the demo and the Redis between them. One proxy alone has no Redis.
type cluster struct {
	// Static
	nodes  []*node
	redis  *process // nil for a single node
	folder string   // of Redis
}

// A node is one proxy.
type node struct {
	*process
	addr  string // host:port for browsers
	admin string // host:port of health, metrics and the cluster page
}

// newCluster prepares n proxies in front of backend and, where there are several, the redis-server at the path redis.
func newCluster(s settings, n int, redis, backend, secret string) (*cluster, error) {
	c, lock := new(cluster), new(sync.Mutex)
	output := func(name string) io.Writer {
		if n == 1 {
			return os.Stdout
		}
		return &prefixer{to: os.Stdout, lock: lock, prefix: fmt.Sprintf("%-6s |", name)}
	}
	gossip := make([]string, n)
	for i := range n {
		one := &node{addr: s.proxy, admin: s.admin}
		for _, addr := range []*string{&gossip[i], &one.addr, &one.admin} {
			if i > 0 || *addr == "" {
				var err error
				if *addr, err = freeAddr(); err != nil {
					return nil, err
				}
			}
		}
		c.nodes = append(c.nodes, one)
	}
	var shared []string
	if n > 1 {
		url, err := c.prepareRedis(redis, output("redis"))
		if err != nil {
			return nil, err
		}
		shared = []string{"LOGUX_REDIS=" + url, "LOGUX_JOIN=" + strings.Join(gossip, ",")}
	}
	for i, one := range c.nodes {
		host, port, err := net.SplitHostPort(one.addr)
		if err != nil {
			return nil, fmt.Errorf("reading the proxy's address: %w", err)
		}
		name := "node-" + strconv.Itoa(i+1)
		env := append(os.Environ(), "LOGUX_ID="+name, "LOGUX_HOST="+host, "LOGUX_PORT="+port, "LOGUX_ADMIN_ADDR="+one.admin,
			"LOGUX_BACKEND="+backend, "LOGUX_CONTROL_SECRET="+secret, "LOGUX_ENV=development", "LOGUX_DRAIN_GRACE=0s", "LOGUX_DRAIN_TIME=1s")
		if n > 1 {
			env = append(append(env, shared...), "LOGUX_GOSSIP_ADDR="+gossip[i])
		}
		one.process = &process{
			name: name, output: output(name),
			command: func() *exec.Cmd {
				cmd := exec.Command(s.binary)
				cmd.Env = env
				return cmd
			},
			answers: func() bool { return get(one.admin, "/healthz", nil) },
		}
	}
	return c, nil
}

// prepareRedis prepares a Redis that keeps nothing, and returns its URL.
func (c *cluster) prepareRedis(program string, output io.Writer) (url string, err error) {
	if c.folder, err = os.MkdirTemp("", "logux-demo-"); err != nil {
		return "", fmt.Errorf("making a folder for Redis: %w", err)
	}
	addr, err := freeAddr()
	if err != nil {
		return "", err
	}
	host, port, _ := net.SplitHostPort(addr)
	c.redis = &process{
		name: "redis", output: output,
		command: func() *exec.Cmd {
			return exec.Command(program, "--port", port, "--bind", host, "--save", "", "--appendonly", "no", "--dir", c.folder, "--loglevel", "warning")
		},
		answers: func() bool { return ping(addr) },
	}
	return "redis://" + addr, nil
}

// start starts everything and returns when the nodes see each other and Redis, or ctx ends.
func (c *cluster) start(ctx context.Context) error {
	if c.redis != nil {
		if err := c.redis.start(ctx); err != nil {
			return err
		}
	}
	begun := make(chan error, len(c.nodes))
	for _, n := range c.nodes {
		go func() { begun <- n.start(ctx) }()
	}
	var err error
	for range c.nodes {
		err = errors.Join(err, <-begun)
	}
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	limit := time.After(20 * time.Second) // what is not together by then shows on the page
	for err == nil && !c.together() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		case <-limit:
			return nil
		}
	}
	return err
}

// together reports whether all nodes see each other and Redis.
func (c *cluster) together() bool {
	for _, n := range c.nodes {
		var seen overview
		if len(c.nodes) > 1 && (!get(n.admin, "/cluster.json", &seen) || len(seen.Nodes) < len(c.nodes) || seen.Bus.State != "ok") {
			return false
		}
	}
	return true
}

// stop ends everything in order, the nodes at the same time.
func (c *cluster) stop() error {
	ended := make(chan error, len(c.nodes))
	for _, n := range c.nodes {
		go func() { ended <- n.stop() }()
	}
	var err error
	for range c.nodes {
		err = errors.Join(err, <-ended)
	}
	if c.redis != nil {
		err = errors.Join(err, c.redis.stop(), os.RemoveAll(c.folder))
	}
	return err
}

// find returns the process of a name.
func (c *cluster) find(name string) *process {
	if c.redis != nil && name == c.redis.name {
		return c.redis
	}
	for _, n := range c.nodes {
		if n.name == name && c.redis != nil {
			return n.process
		}
	}
	return nil
}

// alive returns the index of the first node from i on that runs, or i.
func (c *cluster) alive(i int) int {
	for k := range c.nodes {
		if at := (i + k) % len(c.nodes); c.nodes[at].pid() != 0 {
			return at
		}
	}
	return i
}

// An overview is what a node says of the cluster.
type overview struct {
	Nodes []struct {
		ID          string `json:"id"`
		Connections int    `json:"connections"`
	} `json:"nodes"`
	Bus struct {
		State string `json:"state"`
	} `json:"bus"`
}

// A state is what the page shows of one process.
type state struct {
	Name    string `json:"name"`
	PID     int    `json:"pid"`               // 0: it does not run
	Windows int    `json:"windows,omitempty"` // that are connected to this node
	Bus     string `json:"bus,omitempty"`     // how this node stands with Redis
}

// states looks at everything.
func (c *cluster) states() []state {
	var all []state
	for _, n := range c.nodes {
		s := state{Name: n.name, PID: n.pid()}
		var seen overview
		if s.PID != 0 && get(n.admin, "/cluster.json", &seen) {
			s.Bus = seen.Bus.State
			for _, other := range seen.Nodes {
				if other.ID == "server:"+n.name {
					s.Windows = other.Connections
				}
			}
		}
		all = append(all, s)
	}
	if c.redis != nil {
		all = append(all, state{Name: c.redis.name, PID: c.redis.pid()})
	}
	return all
}

var asking = http.Client{Timeout: time.Second}

// get reads a page of an admin listener, as JSON into to unless that is nil, and reports whether it is there.
func get(admin, path string, to any) bool {
	res, err := asking.Get("http://" + admin + path)
	if err != nil {
		return false
	}
	defer func() { _ = res.Body.Close() }()
	return res.StatusCode == http.StatusOK && (to == nil || json.NewDecoder(res.Body).Decode(to) == nil)
}

// ping reports whether a Redis answers at addr.
func ping(addr string) bool {
	conn, err := net.DialTimeout("tcp", addr, time.Second)
	if err != nil {
		return false
	}
	defer func() { _ = conn.Close() }()
	_ = conn.SetDeadline(time.Now().Add(time.Second))
	_, _ = io.WriteString(conn, "PING\r\n")
	answer := make([]byte, len("+PONG"))
	_, err = io.ReadFull(conn, answer)
	return err == nil && string(answer) == "+PONG"
}

// freeAddr is an address of this machine at which nobody listens, by TCP or UDP.
func freeAddr() (string, error) {
	for range 20 {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return "", fmt.Errorf("looking for a free port: %w", err)
		}
		addr := l.Addr().String()
		u, err := net.ListenPacket("udp", addr)
		_ = l.Close()
		if err == nil {
			return addr, u.Close()
		}
	}
	return "", errors.New("looking for a free port: none is free")
}
