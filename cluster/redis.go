package cluster

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
)

// A Redis says where Redis is: one server, one behind Sentinels, a Cluster, or several independent servers.
type Redis struct {
	// Prefix begins the name of every channel and key.
	Prefix string

	cluster bool
	// servers that each carry a part of the topics. A Cluster is one.
	servers []redisServer
}

// A redisServer is one URL.
type redisServer struct {
	name   string   // address without secrets; for a Sentinel its master's name too
	addrs  []string // of the server, of its Sentinels, or of some nodes of the Cluster
	master string   // what Sentinels call the master; "" without them
	login  redisLogin
	// sentinel is how to log in at the Sentinels.
	sentinel redisLogin
}

// A redisLogin is how to log in. Its copies have the user in common, which may be changed while they are in use.
type redisLogin struct {
	user *atomic.Pointer[redisUser]
	db   int
	tls  *tls.Config
}

type redisUser struct{ name, password string }

func newRedisLogin() redisLogin {
	l := redisLogin{user: new(atomic.Pointer[redisUser])}
	l.user.Store(new(redisUser))
	return l
}

// credentials are those of the next connection.
func (l *redisLogin) credentials() (name, password string) {
	u := l.user.Load()
	return u.name, u.password
}

// ErrOtherRedis is of a URL that leads elsewhere than the one before.
var ErrOtherRedis = errors.New("cluster: only users and passwords can change while Redis is in use")

// Relogin takes users and passwords from another text for ParseRedis, which must name the same servers in the same way:
// else it is an ErrOtherRedis and nothing changes. Connections that are there stay; new ones log in as the text says, but for
// those of HandoverStore to Sentinels. Any goroutine may call it.
func (r *Redis) Relogin(text string) error {
	other, err := ParseRedis(text)
	switch {
	case err != nil:
		return err
	case !slices.Equal(r.names(), other.names()), r.Prefix != other.Prefix, r.cluster != other.cluster:
		return ErrOtherRedis
	}
	for i := range r.servers {
		s, o := &r.servers[i], &other.servers[i]
		s.login.user.Store(o.login.user.Load())
		s.sentinel.user.Store(o.sentinel.user.Load())
	}
	return nil
}

// DefaultPrefix begins the names of channels where a URL says nothing else.
const DefaultPrefix = "logux:"

// ParseRedis reads one URL, or several of independent servers with commas between them:
//
//	redis://user:password@host:6379/0
//	redis+sentinel://user:password@host1:26379,host2/master/0
//	redis+cluster://user:password@host1:6379,host2
//
// With rediss instead of redis connections are encrypted. Parameters after a question mark: prefix (of channels'
// names), ca, cert and key (files in PEM), server_name (that the certificate must have), and sentinel_user and
// sentinel_password. An error never repeats a password.
func ParseRedis(text string) (*Redis, error) {
	r := &Redis{Prefix: DefaultPrefix}
	var prefixes []string
	for _, one := range splitURLs(text) {
		u, err := parseRedisURL(one)
		if err != nil {
			return nil, fmt.Errorf("cluster: reading the URL of Redis: %w", err)
		}
		r.servers = append(r.servers, u.server)
		r.cluster = r.cluster || u.cluster
		prefixes = append(prefixes, u.prefix)
	}
	if len(slices.Compact(prefixes)) > 1 {
		return nil, errors.New("cluster: reading the URL of Redis: the servers have different prefixes")
	}
	if r.Prefix = prefixes[0]; strings.ContainsAny(r.Prefix, "{}") {
		return nil, errors.New("cluster: reading the URL of Redis: the prefix holds braces")
	}
	if r.cluster && len(r.servers) > 1 {
		return nil, errors.New("cluster: reading the URL of Redis: a Redis Cluster stands alone")
	}
	names := r.names()
	slices.Sort(names)
	if len(slices.Compact(names)) < len(r.servers) {
		return nil, errors.New("cluster: reading the URL of Redis: a server stands there twice")
	}
	return r, nil
}

// String names the servers, without secrets.
func (r *Redis) String() string { return strings.Join(r.names(), ",") }

// HasPassword reports whether a URL held a password.
func (r *Redis) HasPassword() bool {
	return slices.ContainsFunc(r.servers, func(s redisServer) bool {
		return s.login.user.Load().password != "" || s.sentinel.user.Load().password != ""
	})
}

func (r *Redis) names() []string {
	names := make([]string, len(r.servers))
	for i := range r.servers {
		names[i] = r.servers[i].name
	}
	return names
}

// A comma between two URLs is one before a scheme; others are between hosts.
var betweenURLs = regexp.MustCompile(`,\s*rediss?(\+[a-z]+)?://`)

func splitURLs(text string) (urls []string) {
	for {
		at := betweenURLs.FindStringIndex(text)
		if at == nil {
			return append(urls, strings.TrimSpace(text))
		}
		urls, text = append(urls, strings.TrimSpace(text[:at[0]])), text[at[0]+1:]
	}
}

type redisURL struct {
	server  redisServer
	cluster bool
	prefix  string
}

var errRedisURL = errors.New("it has not the form redis://host:6379, redis+sentinel://host:26379/master or redis+cluster://host:6379")

func parseRedisURL(text string) (redisURL, error) {
	// url.Parse takes no list of hosts, and its errors repeat the password.
	scheme, rest, _ := strings.Cut(text, "://")
	authority := rest
	if end := strings.IndexAny(rest, "/?#"); end >= 0 {
		authority, rest = rest[:end], rest[end:]
	} else {
		rest = ""
	}
	login, hosts := "", authority
	if at := strings.LastIndexByte(authority, '@'); at >= 0 {
		login, hosts = authority[:at+1], authority[at+1:]
	}
	u, err := url.Parse("redis://" + login + "host" + rest)
	if err != nil || u.Fragment != "" || hosts == "" {
		return redisURL{}, errRedisURL
	}
	r := redisURL{prefix: DefaultPrefix, server: redisServer{login: newRedisLogin(), sentinel: newRedisLogin()}}
	s := &r.server
	port := "6379"
	switch scheme {
	case "redis", "rediss":
	case "redis+sentinel", "rediss+sentinel":
		port = "26379"
	case "redis+cluster", "rediss+cluster":
		r.cluster = true
	default:
		return redisURL{}, errRedisURL
	}
	for host := range strings.SplitSeq(hosts, ",") {
		addr, err := address(strings.TrimSpace(host), port)
		if err != nil {
			return redisURL{}, err
		}
		s.addrs = append(s.addrs, addr)
	}
	path := strings.Split(strings.Trim(u.Path, "/"), "/")
	if strings.HasSuffix(scheme, "+sentinel") {
		if s.master, path = path[0], path[1:]; s.master == "" {
			return redisURL{}, errors.New("a Sentinel's URL ends with the name of the master: redis+sentinel://host:26379/master")
		}
	} else if len(s.addrs) > 1 && !r.cluster {
		return redisURL{}, errors.New("several hosts belong to a Sentinel or a Cluster; independent servers have a URL each")
	}
	if s.login.db, err = database(path); err != nil || r.cluster && s.login.db != 0 {
		return redisURL{}, errors.New("what follows the host is no number of a database")
	}
	password, _ := u.User.Password()
	if u.User.Username() != "" && password == "" {
		return redisURL{}, errors.New("it names a user without a password")
	}
	s.login.user.Store(&redisUser{u.User.Username(), password})
	s.name = strings.Join(s.addrs, ",")
	if s.master != "" {
		s.name += "/" + s.master
	}
	if s.login.db != 0 {
		s.name += "/" + strconv.Itoa(s.login.db)
	}
	return r, r.parameters(u.Query(), strings.HasPrefix(scheme, "rediss"))
}

func address(host, port string) (string, error) {
	if name, given, err := net.SplitHostPort(host); err == nil {
		if n, err := strconv.ParseUint(given, 10, 16); err != nil || n == 0 || name == "" {
			return "", errors.New("what stands for a host and its port is none") // it may be half of a password
		}
		return host, nil
	}
	host = strings.Trim(host, "[]")
	if host == "" || strings.ContainsAny(host, " /") {
		return "", errors.New("what stands for a host is none")
	}
	return net.JoinHostPort(host, port), nil
}

func database(path []string) (int, error) {
	text := strings.Join(path, "/")
	if text == "" {
		return 0, nil
	}
	n, err := strconv.ParseUint(text, 10, 16)
	return int(n), err
}

// parameters reads what follows the question mark.
func (r *redisURL) parameters(query url.Values, encrypted bool) error {
	s := &r.server
	files := map[string]string{}
	var serverName string
	var sentinel redisUser
	for name, values := range query {
		value := values[len(values)-1]
		switch name {
		case "prefix":
			r.prefix = value
		case "ca", "cert", "key":
			files[name] = value
		case "server_name":
			serverName = value
		case "sentinel_user":
			sentinel.name = value
		case "sentinel_password":
			sentinel.password = value
		default:
			return errors.New("it has a parameter other than prefix, ca, cert, key, server_name, sentinel_user and sentinel_password")
		}
	}
	s.sentinel.user.Store(&sentinel)
	if !encrypted {
		if len(files) > 0 || serverName != "" {
			return errors.New("certificates belong to rediss://")
		}
		return nil
	}
	config := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: serverName}
	if file := files["ca"]; file != "" {
		pem, err := os.ReadFile(file)
		if err != nil {
			return fmt.Errorf("reading ca: %w", err)
		}
		if config.RootCAs = x509.NewCertPool(); !config.RootCAs.AppendCertsFromPEM(pem) {
			return errors.New("reading ca: there is no certificate in PEM form")
		}
	}
	if files["cert"] != "" || files["key"] != "" {
		pair, err := tls.LoadX509KeyPair(files["cert"], files["key"])
		if err != nil {
			return fmt.Errorf("reading cert and key: %w", err)
		}
		config.Certificates = []tls.Certificate{pair}
	}
	s.login.tls, s.sentinel.tls = config, config
	return nil
}

// options are how to connect to addr. Everything is retried by us, where it is known what a retry means, so that
// go-redis gives up at the first error and never reconnects by itself.
func options(login *redisLogin, addr string, timeout time.Duration) *redis.Options {
	o := &redis.Options{
		Addr: addr, CredentialsProvider: login.credentials, DB: login.db,
		Protocol: 2, DisableIdentity: true, ClientName: "",
		MaxRetries: -1, DialerRetries: 1, DialTimeout: timeout, ReadTimeout: timeout, WriteTimeout: timeout,
		ContextTimeoutEnabled: true, PoolSize: 1, PipelinePoolSize: -1, PoolTimeout: timeout,
		MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
	}
	if login.tls != nil {
		o.TLSConfig = login.tls.Clone()
		if o.TLSConfig.ServerName == "" {
			o.TLSConfig.ServerName, _, _ = net.SplitHostPort(addr)
		}
	}
	return o
}
