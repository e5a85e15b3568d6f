package cluster

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

// Real servers of Redis, each a process of its own on a free port, without persistence.

// A redisProcess is one server. It can be killed and started again on its port.
type redisProcess struct {
	t    testing.TB
	addr string
	args []string
	cmd  *exec.Cmd
	// login is how tests get in.
	login redisLogin
}

var ports struct {
	sync.Mutex
	given map[int]bool
}

// freePort returns a port that nobody listens on, nor for a Cluster on the one 10,000 above it. Both are below those
// that connections get by themselves, so that none of these takes it before the server does.
func freePort(t testing.TB) int {
	t.Helper()
	ports.Lock()
	defer ports.Unlock()
	for range 1_000 {
		port := 12_000 + rand.IntN(10_000)
		if ports.given[port] || !isFree(port) || !isFree(port+10_000) {
			continue
		}
		if ports.given == nil {
			ports.given = make(map[int]bool)
		}
		ports.given[port] = true
		return port
	}
	t.Fatal("no free port")
	return 0
}

func isFree(port int) bool {
	// A server that is being started holds what was open at its fork, this listener too, until it runs its program.
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
	if err == nil {
		_ = l.Close()
	}
	return err == nil
}

// startRedis starts a server with further arguments.
func startRedis(t testing.TB, args ...string) *redisProcess {
	t.Helper()
	port := freePort(t)
	p := &redisProcess{t: t, addr: fmt.Sprintf("127.0.0.1:%d", port), login: newRedisLogin()}
	p.args = append([]string{
		"--port", fmt.Sprint(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no",
		"--dir", t.TempDir(), "--loglevel", "warning", "--daemonize", "no", "--repl-diskless-sync-delay", "0",
	}, args...)
	p.start()
	return p
}

func (p *redisProcess) start() {
	p.t.Helper()
	p.cmd = exec.Command("redis-server", p.args...)
	var log bytes.Buffer
	p.cmd.Stdout, p.cmd.Stderr = &log, &log
	// The servers go with the test, however it ends.
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := p.cmd.Start(); err != nil {
		p.t.Fatalf("starting redis-server, which these tests need (apt-get install redis-server): %v", err)
	}
	cmd := p.cmd
	p.t.Cleanup(func() {
		stopProcess(cmd)
		if p.t.Failed() {
			p.t.Logf("redis-server %s said:\n%s", p.addr, log.String())
		}
	})
	p.answers()
}

// answers waits until the server does.
func (p *redisProcess) answers() {
	p.t.Helper()
	eventually(p.t, "redis-server answers", func() bool {
		client := p.client() // one that was refused waits a second
		defer func() { _ = client.Close() }()
		err := client.Ping(p.t.Context()).Err()
		return err == nil || strings.HasPrefix(err.Error(), "NOPERM")
	})
}

func (p *redisProcess) client() *redis.Client {
	return redis.NewClient(options(&p.login, p.addr, 5*time.Second))
}

// do sends a command and fails the test when Redis refuses it.
func (p *redisProcess) do(args ...any) any {
	p.t.Helper()
	client := p.client()
	defer func() { _ = client.Close() }()
	v, err := client.Do(context.Background(), args...).Result()
	if err != nil {
		p.t.Fatalf("%v: %v", args, err)
	}
	return v
}

func (p *redisProcess) signal(s syscall.Signal) {
	p.t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil {
		p.t.Fatal(err)
	}
}

// kill is kill -9.
func (p *redisProcess) kill() { stopProcess(p.cmd) }

func stopProcess(cmd *exec.Cmd) {
	if cmd.ProcessState == nil {
		_ = cmd.Process.Signal(syscall.SIGCONT)
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}
}

// startSentinels starts a master with a replica and three Sentinels, and returns the URL.
func startSentinels(t *testing.T) (url string, master, replica *redisProcess) {
	t.Helper()
	master = startRedis(t)
	replica = startRedis(t, "--replicaof", "127.0.0.1 "+portOf(master.addr))
	eventually(t, "the replica follows", func() bool {
		return strings.Contains(fmt.Sprint(replica.do("info", "replication")), "master_link_status:up")
	})
	var addrs []string
	for range 3 {
		port := freePort(t)
		dir := t.TempDir()
		conf := filepath.Join(dir, "sentinel.conf")
		text := fmt.Sprintf("port %d\nbind 127.0.0.1\ndir %s\nsentinel monitor main 127.0.0.1 %s 2\n"+
			"sentinel down-after-milliseconds main 1000\nsentinel failover-timeout main 3000\n", port, dir, portOf(master.addr))
		if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		p := &redisProcess{t: t, addr: fmt.Sprintf("127.0.0.1:%d", port), login: newRedisLogin(), args: []string{conf, "--sentinel", "--loglevel", "warning"}}
		p.start()
		addrs = append(addrs, p.addr)
		eventually(t, "the Sentinel knows the replica", func() bool { return fmt.Sprint(p.do("sentinel", "replicas", "main")) != "[]" })
	}
	for _, addr := range addrs {
		p := &redisProcess{t: t, addr: addr, login: newRedisLogin()}
		eventually(t, "the Sentinels know each other", func() bool {
			return len(p.do("sentinel", "sentinels", "main").([]any)) == 2
		})
	}
	return "redis+sentinel://" + strings.Join(addrs, ",") + "/main", master, replica
}

func portOf(addr string) string {
	_, port, _ := net.SplitHostPort(addr)
	return port
}

// startCluster starts a Redis Cluster with three masters and a replica each, and returns the URL. The masters come first.
func startCluster(t *testing.T) (url string, nodes []*redisProcess) {
	t.Helper()
	var addrs []string
	for range 6 {
		p := startRedis(t, "--cluster-enabled", "yes", "--cluster-node-timeout", "1000", "--cluster-require-full-coverage", "no", "--cluster-replica-validity-factor", "0")
		nodes, addrs = append(nodes, p), append(addrs, p.addr)
	}
	args := append([]string{"--cluster", "create"}, addrs...)
	if out, err := exec.CommandContext(t.Context(), "redis-cli", append(args, "--cluster-replicas", "1", "--cluster-yes")...).CombinedOutput(); err != nil {
		t.Fatalf("redis-cli --cluster create: %v\n%s", err, out)
	}
	var masters, replicas []*redisProcess
	for _, p := range nodes {
		eventually(t, "the Cluster stands", func() bool {
			return strings.Contains(fmt.Sprint(p.do("cluster", "info")), "cluster_state:ok")
		})
		if strings.Contains(fmt.Sprint(p.do("info", "replication")), "role:master") {
			masters = append(masters, p)
			continue
		}
		replicas = append(replicas, p)
		eventually(t, "a replica follows", func() bool {
			return strings.Contains(fmt.Sprint(p.do("info", "replication")), "master_link_status:up")
		})
	}
	return "redis+cluster://" + strings.Join(addrs[:2], ","), append(masters, replicas...)
}

// startTLS starts a server that only speaks TLS and lets in only a user who may do no more than the bus needs.
func startTLS(t *testing.T) (url string, p *redisProcess) {
	t.Helper()
	dir := t.TempDir()
	openssl := func(args ...string) {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), "openssl", args...)
		cmd.Dir = dir
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("openssl %v: %v\n%s", args, err, out)
		}
	}
	openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2", "-keyout", "key.pem",
		"-out", "cert.pem", "-subj", "/CN=redis.test", "-addext", "subjectAltName=DNS:redis.test")
	file := func(name string) string { return filepath.Join(dir, name) }
	acl := file("users.acl")
	if err := os.WriteFile(acl, []byte("user default off\nuser logux on >secret resetchannels &logux:* -@all "+leastACL+"\nuser root on >root &* ~* +@all\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	port := freePort(t)
	p = &redisProcess{t: t, addr: fmt.Sprintf("127.0.0.1:%d", port)}
	p.args = []string{
		"--port", "0", "--tls-port", fmt.Sprint(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir", dir, "--loglevel", "warning",
		"--tls-cert-file", file("cert.pem"), "--tls-key-file", file("key.pem"), "--tls-ca-cert-file", file("cert.pem"), "--tls-auth-clients", "no",
		"--aclfile", acl,
	}
	r, err := ParseRedis("rediss://root:root@" + p.addr + "?server_name=redis.test&ca=" + file("cert.pem"))
	if err != nil {
		t.Fatal(err)
	}
	p.login = r.servers[0].login
	p.start()
	return "rediss://logux:secret@" + p.addr + "?server_name=redis.test&ca=" + file("cert.pem"), p
}

// leastACL is what the bus needs, as the documentation says.
const leastACL = "+publish +subscribe +unsubscribe +ping +pubsub|numsub"
