package cluster

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"
)

func TestParseRedis(t *testing.T) {
	for text, want := range map[string]struct {
		name, addrs, master, user, password, prefix string
		db                                          int
		cluster, tls                                bool
	}{
		"redis://localhost":                         {name: "localhost:6379", addrs: "localhost:6379"},
		"redis://redis:7000/2":                      {name: "redis:7000/2", addrs: "redis:7000", db: 2},
		"redis://[::1]:7000/":                       {name: "[::1]:7000", addrs: "[::1]:7000"},
		"redis://[::1]":                             {name: "[::1]:6379", addrs: "[::1]:6379"},
		"redis://:p%40ss@h?prefix=app.":             {name: "h:6379", addrs: "h:6379", password: "p@ss", prefix: "app."},
		"rediss://logux:a@b@h:1":                    {name: "h:1", addrs: "h:1", user: "logux", password: "a@b", tls: true},
		"redis+sentinel://s1,s2:5/main":             {name: "s1:26379,s2:5/main", addrs: "s1:26379 s2:5", master: "main"},
		"rediss+sentinel://u:p@s1/main/3":           {name: "s1:26379/main/3", addrs: "s1:26379", master: "main", user: "u", password: "p", db: 3, tls: true},
		"redis+cluster://u:p@a:1,b":                 {name: "a:1,b:6379", addrs: "a:1 b:6379", user: "u", password: "p", cluster: true},
		"rediss+cluster://a?server_name=x&prefix=y": {name: "a:6379", addrs: "a:6379", cluster: true, tls: true, prefix: "y"},
	} {
		r, err := ParseRedis(text)
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		s := &r.servers[0]
		if want.prefix == "" {
			want.prefix = DefaultPrefix
		}
		user, password := s.login.credentials()
		if r.String() != want.name || strings.Join(s.addrs, " ") != want.addrs || s.master != want.master || user != want.user ||
			password != want.password || r.Prefix != want.prefix || s.login.db != want.db || r.cluster != want.cluster || (s.login.tls != nil) != want.tls {
			t.Errorf("%s: %+v", text, r)
		}
	}
	r, err := ParseRedis("redis://a, redis+sentinel://b,c/m,rediss://:x@d:1/1")
	if err != nil {
		t.Fatal(err)
	}
	if got := r.String(); got != "a:6379,b:26379,c:26379/m,d:1/1" || len(r.servers) != 3 {
		t.Errorf("%d servers: %s", len(r.servers), got)
	}
}

// Only users and passwords change while Redis is in use; what leads elsewhere changes nothing.
func TestRelogin(t *testing.T) {
	r, err := ParseRedis("redis://u:old@a,redis+sentinel://v:old@b/m?sentinel_password=old")
	if err != nil {
		t.Fatal(err)
	}
	inUse := r.servers[0].login // as clients have it
	for _, text := range []string{
		"redis://u:new@a", "redis://u:new@a,redis+sentinel://v:new@b/other", "redis://u:new@a,redis+sentinel://v:new@b/m/1",
		"redis://u:new@x,redis+sentinel://v:new@b/m", "redis://u:new@a?prefix=y,redis+sentinel://v:new@b/m?prefix=y",
	} {
		if err := r.Relogin(text); !errors.Is(err, ErrOtherRedis) {
			t.Errorf("%s: %v", text, err)
		}
	}
	if err := r.Relogin("redis://h:x"); err == nil || errors.Is(err, ErrOtherRedis) {
		t.Errorf("no URL: %v", err)
	}
	if _, password := inUse.credentials(); password != "old" {
		t.Errorf("the password became %s", password)
	}
	if err := r.Relogin("redis://w:new@a,redis+sentinel://v:newer@b/m?sentinel_user=s&sentinel_password=newest"); err != nil {
		t.Fatal(err)
	}
	for want, login := range map[redisUser]*redisLogin{{"w", "new"}: &inUse, {"v", "newer"}: &r.servers[1].login, {"s", "newest"}: &r.servers[1].sentinel} {
		if name, password := login.credentials(); (redisUser{name, password}) != want {
			t.Errorf("%s %s, want %+v", name, password, want)
		}
	}
}

// "A wrong setting stops the start with one clear line", which never has a password in it.
func TestParseRedisRefuses(t *testing.T) {
	for _, text := range []string{
		"", "redis", "redis://", "http://h", "redis:///1", "redis://:sesame@", "redis://h:0", "redis://h:99999", "redis://h:x", "redis://:sesame@h h",
		"redis://h/x", "redis://h/-1", "redis://h/1/2", "redis://h#x", "redis://:sesame@h/%zz", "redis://a,b", "redis://user@h", "redis+sentinel://h",
		"redis+sentinel://h/m/x", "redis+sentinel://h/m/1/2", "redis+cluster://h/1", "redis+cluster://a,redis://b", "redis://h?x=1", "redis://h?prefix={a}",
		"redis://h?ca=/x", "rediss://h?ca=/does/not/exist", "rediss://h?cert=/does/not/exist", "rediss://:sesame@h?ca=" + os.DevNull,
		"redis://a?prefix=x,redis://b?prefix=y", "redis://a,redis://a:6379", "redis+x://:sesame@h",
	} {
		r, err := ParseRedis(text)
		if err == nil {
			t.Errorf("%q: %v", text, r)
		} else if line := err.Error(); strings.Contains(line, "sesame") || strings.Contains(line, "\n") || !strings.Contains(line, "URL of Redis") {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func FuzzParseRedis(f *testing.F) {
	f.Add("redis://u:sesame@h:1/2?prefix=x,rediss+sentinel://:sesame@a,b/m/1")
	f.Add("redis+cluster://u:sesame@[::1]:1,b")
	f.Fuzz(func(t *testing.T, text string) {
		r, err := ParseRedis(text)
		if err == nil && (len(r.servers) == 0 || len(r.servers[0].addrs) == 0) {
			t.Error("no server")
		}
	})
}

// "Wrong password, TLS name mismatch, ACL without a needed command: clear message."
func TestRedisCheck(t *testing.T) {
	url, p := startTLS(t)
	r, err := ParseRedis(url)
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Check(t.Context(), 5*time.Second); err != nil {
		t.Errorf("with the least rights: %v", err)
	}
	for name, test := range map[string]struct {
		change func(string) string
		acl    string
		want   string
	}{
		"password":  {func(s string) string { return strings.Replace(s, "secret", "wrong", 1) }, "", "WRONGPASS"},
		"name":      {func(s string) string { return strings.Replace(s, "redis.test", "other.test", 1) }, "", "other.test"},
		"authority": {func(s string) string { return s[:strings.Index(s, "&ca=")] }, "", "certificate"},
		"prefix":    {func(s string) string { return s + "&prefix=other:" }, "", "NOPERM"},
		"publish":   {nil, "-publish", "publish"},
		"subscribe": {nil, "-subscribe", "subscribe"},
		"count":     {nil, "-pubsub|numsub", "counting subscribers"},
	} {
		if test.acl != "" {
			p.do("acl", "setuser", "logux", test.acl)
		}
		text := url
		if test.change != nil {
			text = test.change(url)
		}
		r, err := ParseRedis(text)
		if err != nil {
			t.Fatal(err)
		}
		err = r.Check(t.Context(), 5*time.Second)
		if !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), test.want) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: %v", name, err)
		}
		if test.acl != "" {
			p.do("acl", "setuser", "logux", "+"+test.acl[1:])
		}
	}
	p.kill()
	if err := r.Check(t.Context(), 5*time.Second); err == nil || errors.Is(err, ErrRefused) {
		t.Errorf("while it is away: %v", err)
	}
}

func TestRedisCheckOfEveryForm(t *testing.T) {
	t.Parallel()
	sentinels, _, _ := startSentinels(t)
	cluster, _ := startCluster(t)
	for _, url := range []string{sentinels, cluster} {
		r, err := ParseRedis(url)
		if err != nil {
			t.Fatal(err)
		}
		if err := r.Check(t.Context(), 5*time.Second); err != nil {
			t.Errorf("%s: %v", url, err)
		}
	}
	r, err := ParseRedis(strings.Replace(sentinels, "/main", "/other", 1))
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Check(t.Context(), 5*time.Second); err == nil || !strings.Contains(err.Error(), `no master "other"`) {
		t.Errorf("another master: %v", err)
	}
}

// What hand-overs need is tried too.
func TestRedisCheckHandovers(t *testing.T) {
	t.Parallel()
	url, p := startTLS(t)
	r, err := ParseRedis(url)
	if err != nil {
		t.Fatal(err)
	}
	check := func() error { return r.CheckHandovers(t.Context(), 5*time.Second) }
	if err := check(); !errors.Is(err, ErrRefused) || strings.Contains(err.Error(), "secret") {
		t.Errorf("without rights: %v", err)
	}
	commands := strings.Fields(handoverACL)
	p.do(append([]any{"acl", "setuser", "logux", "~" + DefaultPrefix + "*"}, anySlice(commands)...)...)
	if err := check(); err != nil {
		t.Errorf("with the least rights: %v", err)
	}
	for _, command := range commands {
		p.do("acl", "setuser", "logux", "-"+command[1:])
		if err := check(); !errors.Is(err, ErrRefused) {
			t.Errorf("%s: %v", command, err)
		}
		p.do("acl", "setuser", "logux", command)
	}
	p.do("acl", "setuser", "logux", "resetkeys")
	if err := check(); !errors.Is(err, ErrRefused) {
		t.Errorf("without keys: %v", err)
	}
	p.kill()
	if err := check(); err == nil || errors.Is(err, ErrRefused) {
		t.Errorf("while it is away: %v", err)
	}
}

// handoverACL is what a RedisStore needs, as its documentation says.
const handoverACL = "+eval +evalsha +del +exists +get +hdel +hexists +hget +hgetall +hlen +hscan +hset +pexpire +pttl +sadd +set +smembers +srem"

func anySlice(texts []string) (all []any) {
	for _, text := range texts {
		all = append(all, text)
	}
	return all
}

// A server that is only busy, loading or full is no wrong setting.
func TestRefused(t *testing.T) {
	for text, want := range map[string]bool{
		"NOPERM this user has no permissions": true, "WRONGPASS invalid username-password pair": true, "NOAUTH Authentication required.": true,
		"DENIED Redis is running in protected mode": true, "ERR unknown command 'SPUBLISH'": true, "ERR DB index is out of range": true,
		"ERR max number of clients reached": false, "LOADING Redis is loading the dataset in memory": false, "READONLY You can't write": false,
		"CLUSTERDOWN The cluster is down": false, "MASTERDOWN Link with MASTER is down": false, "OOM command not allowed": false,
	} {
		if got := refused(fmt.Errorf("trying: %w", redisAnswer(text))); got != want {
			t.Errorf("%s: %v", text, got)
		}
	}
}

type redisAnswer string

func (a redisAnswer) Error() string { return string(a) }
func (redisAnswer) RedisError()     {}
