package fleet

import (
	"cmp"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// A Redis is one real server without persistence. It can be killed and started again, empty, at its address.
type Redis struct {
	Addr string // host:port

	t    testing.TB
	args []string
	log  *output
	p    *process
}

// StartRedis starts a server at host with further arguments. It ends with the test.
func StartRedis(t testing.TB, host string, args ...string) *Redis {
	t.Helper()
	port := freePort(t)
	r := &Redis{t: t, Addr: fmt.Sprintf("%s:%d", host, port), log: new(output)}
	r.args = append([]string{
		"--port", fmt.Sprint(port), "--bind", host, "--protected-mode", "no", "--save", "", "--appendonly", "no", "--dir", t.TempDir(),
		"--loglevel", "warning", "--repl-diskless-sync-delay", "0",
	}, args...)
	t.Cleanup(func() {
		r.Continue()
		r.p.kill()
		if t.Failed() {
			t.Logf("redis-server %s said:\n%s", r.Addr, r.log.tail(3000))
		}
	})
	r.Start()
	return r
}

// URL is the server's.
func (r *Redis) URL() string { return "redis://" + r.Addr }

// Start starts it, after Kill again, and waits until it answers.
func (r *Redis) Start() {
	r.t.Helper()
	var err error
	if r.p, err = start("", "", os.Environ(), r.log, "redis-server", r.args...); err != nil {
		r.t.Fatalf("%v (apt-get install redis-server)", err)
	}
	Await(r.t, "redis-server answers", func() bool {
		if r.p.gone() {
			r.t.Fatalf("redis-server ended:\n%s", r.log)
		}
		return r.try("ping") == "PONG"
	})
}

// Kill is kill -9.
func (r *Redis) Kill() { r.p.kill() }

// Stop is SIGSTOP.
func (r *Redis) Stop() { r.p.signal(syscall.SIGSTOP) }

// Continue is SIGCONT.
func (r *Redis) Continue() { r.p.signal(syscall.SIGCONT) }

// try sends a command and returns what is answered, or "".
func (r *Redis) try(args ...string) string {
	host, port := hostPort(r.Addr)
	out, _ := exec.Command("redis-cli", append([]string{"-h", host, "-p", port}, args...)...).Output()
	return strings.TrimSpace(string(out))
}

// Do sends a command and fails the test when it is refused.
func (r *Redis) Do(args ...string) string {
	r.t.Helper()
	host, port := hostPort(r.Addr)
	out, err := exec.Command("redis-cli", append([]string{"-e", "-h", host, "-p", port}, args...)...).CombinedOutput()
	if err != nil {
		r.t.Fatalf("%v at %s: %v\n%s", args, r.Addr, err, out)
	}
	return strings.TrimSpace(string(out))
}

// Master reports whether the server says that it is one.
func (r *Redis) Master() bool { return strings.Contains(r.try("info", "replication"), "role:master") }

func hostPort(addr string) (host, port string) {
	at := strings.LastIndexByte(addr, ':')
	return addr[:at], addr[at+1:]
}

// Sentinels are a master with two replicas, watched by three Sentinels.
type Sentinels struct {
	URL     string
	Servers []*Redis

	t         testing.TB
	sentinels []*Redis
}

// StartSentinels starts them and returns when they know each other.
func StartSentinels(t testing.TB) *Sentinels {
	t.Helper()
	s := &Sentinels{t: t}
	master := StartRedis(t, "127.0.0.1")
	_, port := hostPort(master.Addr)
	s.Servers = append(s.Servers, master)
	for range 2 {
		replica := StartRedis(t, "127.0.0.1", "--replicaof", "127.0.0.1 "+port)
		s.Servers = append(s.Servers, replica)
	}
	for _, replica := range s.Servers[1:] {
		Await(t, "the replica follows", func() bool { return strings.Contains(replica.try("info", "replication"), "master_link_status:up") })
	}
	var addrs []string
	for range 3 {
		r := &Redis{t: t, Addr: fmt.Sprintf("127.0.0.1:%d", freePort(t)), log: new(output)}
		_, own := hostPort(r.Addr)
		dir := t.TempDir()
		conf := filepath.Join(dir, "sentinel.conf")
		text := fmt.Sprintf("port %s\nbind 127.0.0.1\ndir %s\nsentinel monitor main 127.0.0.1 %s 2\n"+
			"sentinel down-after-milliseconds main 2000\nsentinel failover-timeout main 6000\n", own, dir, port)
		if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		r.args = []string{conf, "--sentinel", "--loglevel", "warning"}
		t.Cleanup(func() { r.p.kill() })
		r.Start()
		s.sentinels = append(s.sentinels, r)
		addrs = append(addrs, r.Addr)
	}
	s.AwaitWhole()
	s.URL = "redis+sentinel://" + strings.Join(addrs, ",") + "/main"
	return s
}

// AwaitWhole waits until every Sentinel knows both replicas and both other Sentinels.
func (s *Sentinels) AwaitWhole() {
	s.t.Helper()
	for _, r := range s.sentinels {
		Await(s.t, "the Sentinels know all", func() bool {
			line := r.try("info", "sentinel")
			return strings.Contains(line, "status=ok") && strings.Contains(line, "slaves=2,sentinels=3")
		})
	}
	for _, r := range s.Servers {
		Await(s.t, "replicas follow", func() bool {
			info := r.try("info", "replication")
			return strings.Contains(info, "role:master") || strings.Contains(info, "master_link_status:up")
		})
	}
}

// Master is the server that the Sentinels name.
func (s *Sentinels) Master() *Redis {
	s.t.Helper()
	var master *Redis
	Await(s.t, "the Sentinels name a master", func() bool {
		addr := strings.Join(strings.Fields(s.sentinels[0].try("sentinel", "get-master-addr-by-name", "main")), ":")
		for _, r := range s.Servers {
			if r.Addr == addr && r.Master() {
				master = r
				return true
			}
		}
		return false
	})
	return master
}

// A RedisCluster is three masters with a replica each.
type RedisCluster struct {
	URL     string
	Servers []*Redis

	t testing.TB
}

// StartRedisCluster starts one and returns when it stands.
func StartRedisCluster(t testing.TB) *RedisCluster {
	t.Helper()
	c := &RedisCluster{t: t}
	var addrs []string
	for range 6 {
		r := StartRedis(t, "127.0.0.1", "--cluster-enabled", "yes", "--cluster-node-timeout", "1000", "--cluster-require-full-coverage", "no",
			"--cluster-replica-validity-factor", "0")
		c.Servers, addrs = append(c.Servers, r), append(addrs, r.Addr)
	}
	args := append([]string{"--cluster", "create"}, addrs...)
	if out, err := exec.Command("redis-cli", append(args, "--cluster-replicas", "1", "--cluster-yes")...).CombinedOutput(); err != nil {
		t.Fatalf("redis-cli --cluster create: %v\n%s", err, out)
	}
	c.AwaitWhole()
	c.URL = "redis+cluster://" + strings.Join(addrs, ",")
	return c
}

// AwaitWhole waits until all servers agree that it stands, with three masters and three replicas that follow.
func (c *RedisCluster) AwaitWhole() {
	c.t.Helper()
	for _, r := range c.Servers {
		Await(c.t, "the Redis Cluster stands", func() bool {
			info := r.try("info", "replication")
			nodes := r.try("cluster", "nodes")
			return strings.Contains(r.try("cluster", "info"), "cluster_state:ok") && !strings.Contains(nodes, "fail") &&
				(strings.Contains(info, "role:master") || strings.Contains(info, "master_link_status:up"))
		})
	}
	Await(c.t, "every master has a replica", func() bool {
		for _, r := range c.Masters() {
			if !strings.Contains(r.try("info", "replication"), "connected_slaves:1") {
				return false
			}
		}
		return len(c.Masters()) == 3
	})
}

// slots is how many slots of a Redis Cluster r has.
func (r *Redis) slots() (n int) {
	for line := range strings.Lines(r.Do("cluster", "nodes")) {
		fields := strings.Fields(line)
		if len(fields) < 8 || !strings.Contains(fields[2], "myself") {
			continue
		}
		for _, part := range fields[8:] {
			first, last, found := strings.Cut(part, "-")
			if !found {
				last = first
			}
			from, err1 := strconv.Atoi(first)
			to, err2 := strconv.Atoi(last)
			if err1 == nil && err2 == nil { // else it is on its way
				n += to - from + 1
			}
		}
	}
	return n
}

// Masters are those that say so.
func (c *RedisCluster) Masters() (masters []*Redis) {
	for _, r := range c.Servers {
		if r.Master() {
			masters = append(masters, r)
		}
	}
	return masters
}

// MoveSlots moves n slots from the master that has most to the one that has fewest, while they work: one without slots is no master any more.
func (c *RedisCluster) MoveSlots(n int) {
	c.t.Helper()
	masters := c.Masters()
	slices.SortFunc(masters, func(a, b *Redis) int { return cmp.Compare(a.slots(), b.slots()) })
	from, to := masters[len(masters)-1], masters[0]
	out, err := exec.Command("redis-cli", "--cluster", "reshard", c.Servers[0].Addr, "--cluster-from", from.Do("cluster", "myid"), "--cluster-to", to.Do("cluster", "myid"),
		"--cluster-slots", fmt.Sprint(n), "--cluster-yes").CombinedOutput()
	if err != nil {
		c.t.Fatalf("redis-cli --cluster reshard: %v\n%s", err, out[max(0, len(out)-2000):])
	}
}
