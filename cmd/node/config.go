package main

import (
	"net/netip"
	"net/url"
	"time"

	"go.uber.org/zap/zapcore"

	"logux-proxy/cluster"
)

// The two environments of LOGUX_ENV.
const (
	development = "development"
	production  = "production"
)

// Config is every setting. Each field is a flag (BackendHold is --backend-hold), an environment
// variable (LOGUX_BACKEND_HOLD) and a row of the README's table; this struct is the only place
// where a setting is named, described and given its default.
//
// Besides kong's own tags these are read: range (of a number, a size or a duration), oneof (of a
// string), example (of a URL), and development and production (the default there, when it differs).
type Config struct {
	Host           string         `group:"listen" short:"h" default:"127.0.0.1" placeholder:"NAME" help:"Address or host name to listen on. 0.0.0.0 takes connections from everywhere."`
	Port           int            `group:"listen" short:"p" default:"31337" placeholder:"NUMBER" range:"0..65535" help:"Port of WebSocket connections and of the control API. 0 takes a free one."`
	ID             string         `group:"listen" placeholder:"TEXT" help:"Name of this node; its Logux node ID becomes server:TEXT. Random when empty."`
	Env            string         `group:"listen" oneof:"development,production" placeholder:"NAME" help:"development (while the host is a loopback address) or production (otherwise). Development means a human log, debug messages to clients, plain ws:// for real clients, no waiting for a back-end that is away, and any origin. NODE_ENV=production is heard too."`
	Key            string         `group:"listen" placeholder:"FILE" help:"TLS private key (PEM). With it and the certificate the port speaks wss:// and https://. Both are read again when they change."`
	Cert           string         `group:"listen" placeholder:"FILE" help:"TLS certificate chain (PEM)."`
	Origins        []string       `group:"listen" sep:"none" placeholder:"LIST" help:"Web origins that may connect, as https://example.com or https://*.example.com, or * for any. Empty means the page's host must be the host it connects to; any in development."`
	TrustedProxies []netip.Prefix `group:"listen" sep:"none" placeholder:"LIST" help:"Addresses or CIDRs of proxies whose X-Forwarded-For or PROXY header is believed."`
	Loops          int            `group:"listen" default:"0" range:"0..1024" placeholder:"NUMBER" help:"Event loops. 0 is one for each CPU."`
	Compression    bool           `group:"listen" default:"false" help:"Offer permessage-deflate. Costs memory and CPU for each connection."`

	Backend               *url.URL       `group:"backend" example:"http://127.0.0.1:3000/logux" placeholder:"URL" help:"URL of the back-end, http:// or https://. Required."`
	ControlSecret         secrets        `group:"backend" placeholder:"TEXT" help:"Secret shared with the back-end. Required, unless it is in a file. During a rotation several with commas: the first is sent, all are accepted."`
	ControlSecretFile     string         `group:"backend" placeholder:"FILE" help:"File that holds the secret, in place of LOGUX_CONTROL_SECRET; several one a line."`
	ControlMask           []netip.Prefix `group:"backend" default:"127.0.0.1/8" sep:"none" placeholder:"LIST" help:"Addresses or CIDRs that may call the control API."`
	ControlAddr           string         `group:"backend" placeholder:"HOST:PORT" help:"A listener of its own for the control API. Empty: it shares the port of the WebSocket."`
	ControlPath           string         `group:"backend" placeholder:"PATH" help:"Path of the control API. Empty: any path."`
	BackendVersion        int            `group:"backend" default:"4" range:"2..4" placeholder:"NUMBER" help:"Version of the Logux back-end protocol."`
	BackendSubprotocol    string         `group:"backend" default:"raw" oneof:"raw,semver" placeholder:"NAME" help:"raw passes the clients' subprotocols on as they are. semver turns the numbers of new clients into versions (10 into 10.0.0) for back-ends that parse SemVer, and theirs back."`
	BackendConcurrency    int            `group:"backend" default:"64" range:"1..65536" placeholder:"NUMBER" help:"Requests to the back-end in flight at most."`
	BackendBatch          int            `group:"backend" default:"50" range:"1..10000" placeholder:"NUMBER" help:"Commands in one request at most, when requests have to wait. 1 turns batching off, for back-ends that answer only when all is done."`
	BackendHold           time.Duration  `group:"backend" default:"60s" development:"0s" range:"0s..1h" placeholder:"TIME" help:"How long commands wait for a back-end that is away."`
	BackendTimeout        time.Duration  `group:"backend" default:"60s" range:"100ms..1h" placeholder:"TIME" help:"Time for one command, from its request to its last answer."`
	BackendConnectTimeout time.Duration  `group:"backend" default:"5s" range:"10ms..5m" placeholder:"TIME" help:"Time to connect to the back-end."`
	BackendRetry          string         `group:"backend" default:"safe" oneof:"safe,all" placeholder:"NAME" help:"safe sends again only what the back-end cannot have acted on, and subscriptions. all sends every command again: only for back-ends that recognise a repeated meta.id."`
	BackendCA             string         `group:"backend" placeholder:"FILE" help:"Certificate authorities (PEM) to check an https:// back-end with. Empty: the system's."`
	BackendCert           string         `group:"backend" placeholder:"FILE" help:"Client certificate (PEM) shown to an https:// back-end."`
	BackendKey            string         `group:"backend" placeholder:"FILE" help:"Private key (PEM) of the client certificate."`

	Subprotocol    string        `group:"client" placeholder:"TEXT" help:"The application's subprotocol, told to clients. Empty: what the back-end says."`
	Supports       string        `group:"client" placeholder:"RANGE" help:"npm range of client subprotocols that are let in before the back-end is asked, such as ^2.1.0. Empty: all."`
	MinSubprotocol int           `group:"client" default:"0" range:"0..1000000000" placeholder:"NUMBER" help:"The same for the number that new clients send: lower ones are turned away. 0: none."`
	Ping           time.Duration `group:"client" default:"20s" range:"10ms..1h" placeholder:"TIME" help:"Silence after which a client is asked whether it is there."`
	Timeout        time.Duration `group:"client" default:"70s" range:"20ms..1h" placeholder:"TIME" help:"Time a client has for an answer."`
	ConnectTimeout time.Duration `group:"client" default:"10s" development:"70s" range:"10ms..10m" placeholder:"TIME" help:"Time a new connection has to say who it is."`
	AckLimit       time.Duration `group:"client" default:"15s" clustered:"5s" range:"100ms..10m" placeholder:"TIME" help:"How long an acknowledgement waits for the action's outcome. With LOGUX_REDIS the action is then written there first, so that another node can finish it. Real clients lose patience after 20s to 70s."`

	MaxConnections   int      `group:"limit" default:"1000000" range:"1..100000000" placeholder:"NUMBER" help:"Connections to this node. More get 503."`
	MaxMessage       byteSize `group:"limit" default:"1MiB" range:"1KiB..1GiB" placeholder:"SIZE" help:"One message of a client."`
	MaxQueue         int      `group:"limit" default:"1000" range:"1..10000000" placeholder:"NUMBER" help:"Actions of one client that wait for their turn. Beyond it the client is not read until some are done."`
	MaxSubscriptions int      `group:"limit" default:"1000" range:"1..10000000" placeholder:"NUMBER" help:"Subscriptions of one client."`
	MaxOutput        byteSize `group:"limit" default:"1MiB" range:"1KiB..1GiB" placeholder:"SIZE" help:"Bytes that wait for a client that reads too slowly. Beyond it the client is closed and comes back."`
	ConnectRate      int      `group:"limit" default:"5000" range:"1..10000000" placeholder:"NUMBER" help:"New connections a second. More wait."`
	ActionRate       int      `group:"limit" default:"1000" range:"1..10000000" placeholder:"NUMBER" help:"Actions a second of one client. A client that sends more is read more slowly."`
	MaxHeaders       byteSize `group:"limit" default:"8KiB" range:"64B..1GiB" placeholder:"SIZE" help:"Logux headers of one client."`
	MaxToken         byteSize `group:"limit" default:"16KiB" range:"64B..1GiB" placeholder:"SIZE" help:"Token of one client."`
	MaxPreauth       byteSize `group:"limit" default:"64KiB" range:"64B..1GiB" placeholder:"SIZE" help:"What a client may send before it is let in."`
	MaxDepth         int      `group:"limit" default:"64" range:"4..10000" placeholder:"NUMBER" help:"Nesting of an action's JSON."`

	Redis           *cluster.Redis `group:"cluster" placeholder:"URL" help:"Redis that connects several nodes: redis://:PASSWORD@HOST:PORT/DB, redis+sentinel://HOST,HOST/MASTER, redis+cluster://HOST,HOST, with TLS as rediss; or URLs of independent servers with commas. ?prefix= changes logux:, with which names of channels and keys begin; ?ca=, ?cert= and ?key= name PEM files. Empty: a single node."`
	RedisFile       string         `group:"cluster" placeholder:"FILE" help:"File that holds the URL, in place of LOGUX_REDIS; several one a line. When it changes, new connections use its users and passwords."`
	GossipAddr      string         `group:"cluster" default:"off" placeholder:"HOST:PORT" help:"Address, TCP and UDP, at which the nodes talk to each other past Redis; off for none. Without it a break of Redis loses actions, a dead node's actions are not taken over, and wrong credentials count on each node alone."`
	GossipAdvertise string         `group:"cluster" placeholder:"HOST:PORT" help:"Address by which other nodes reach LOGUX_GOSSIP_ADDR, when it is another; the port may be left out. Empty with 0.0.0.0: a private address of this machine."`
	Join            []string       `group:"cluster" sep:"none" placeholder:"LIST" help:"Other nodes: addresses, or DNS names that are looked up again and again. The port is that of LOGUX_GOSSIP_ADDR unless given. A node that finds nobody goes on alone."`
	GossipKey       gossipKeys     `group:"cluster" placeholder:"KEYS" help:"Key of 16, 24 or 32 bytes in base64 that encrypts gossip. During a rotation several with commas: the first encrypts, all are accepted. Required unless LOGUX_GOSSIP_ADDR is a loopback address."`
	GossipKeyFile   string         `group:"cluster" placeholder:"FILE" help:"File that holds the key, in place of LOGUX_GOSSIP_KEY; several one a line. It is read again when it changes."`
	GossipPlain     bool           `group:"cluster" default:"false" help:"Gossip without a key, on a network where everybody is trusted."`
	Cluster         string         `group:"cluster" default:"logux" placeholder:"TEXT" help:"Name of the cluster. Nodes with another one do not gossip with this one, though they reach each other."`
	Rebalance       bool           `group:"cluster" default:"true" help:"Let clients go to nodes that have fewer, such as new ones, as far as the load balancer brings them there. It takes LOGUX_GOSSIP_ADDR."`
	RebalanceRate   int            `group:"cluster" default:"50" range:"1..100000" placeholder:"NUMBER" help:"Clients a second that a node lets go, and no more than 5 per cent of them."`
	RebalanceMargin int            `group:"cluster" default:"10" range:"1..1000" placeholder:"PER CENT" help:"A node with no more clients than this above the mean of all lets none go."`
	RebalanceMin    int            `group:"cluster" default:"500" range:"1..100000000" placeholder:"NUMBER" help:"Clients that a node keeps in any case. Among fewer, chance alone makes more than a few per cent of difference."`
	RebalanceDelay  time.Duration  `group:"cluster" default:"20s" range:"1s..1h" placeholder:"TIME" help:"How long no clients are let go after a node came, went, began to drain, or lost or found Redis."`

	Logger     string        `group:"operation" short:"l" oneof:"human,json" development:"human" production:"json" placeholder:"FORM" help:"Form of the log: human or json."`
	LogLevel   zapcore.Level `group:"operation" default:"info" placeholder:"LEVEL" help:"What is logged: debug, info, warn or error, and everything worse."`
	Audit      string        `group:"operation" default:"all" oneof:"all,refused" placeholder:"NAME" help:"Which requests to the control API the log has a line of: all, or only those that were refused or failed."`
	Trace      *url.URL      `group:"operation" example:"http://127.0.0.1:4318" placeholder:"URL" help:"OpenTelemetry collector that gets traces by OTLP over HTTP: http://HOST:4318, to which /v1/traces is added, or the whole URL. Empty: nothing is traced. OTEL_SERVICE_NAME, OTEL_RESOURCE_ATTRIBUTES, OTEL_EXPORTER_OTLP_HEADERS and OTEL_EXPORTER_OTLP_CERTIFICATE are heard too."`
	TraceRatio ratio         `group:"operation" default:"0.01" range:"0..1" placeholder:"NUMBER" help:"Part of the actions that is traced, from 0 to 1."`
	AdminAddr  string        `group:"operation" default:"127.0.0.1:31338" placeholder:"HOST:PORT" help:"Listener of /healthz, /readyz, /metrics, /cluster, /disconnect, /drain and /debug/pprof; off for none. Keep it away from the internet."`
	DrainGrace time.Duration `group:"operation" default:"5s" development:"0s" range:"0s..10m" placeholder:"TIME" help:"After SIGTERM: time for load balancers to notice that this node is not ready."`
	DrainTime  time.Duration `group:"operation" default:"25s" development:"0s" range:"0s..1h" placeholder:"TIME" help:"After that: time over which the clients are closed, evenly."`

	// Warnings are things that do not stop the start, for the log.
	Warnings []Warning `kong:"-"`

	traceEnv traceEnvironment `kong:"-"`
}

// A Warning is a setting that works but is probably not what was meant.
type Warning struct {
	Message string
	Hint    string // what to do about it
}

// Secrets are the shared secrets: the first is sent, all are accepted.
func (c *Config) Secrets() []string { return c.ControlSecret }

// Development reports whether LOGUX_ENV is development.
func (c *Config) Development() bool { return c.Env == development }

// secrets is a list of secrets that cannot be printed by accident.
type secrets []string

const hidden = "[hidden]"

func (secrets) String() string               { return hidden }
func (secrets) GoString() string             { return hidden }
func (secrets) MarshalText() ([]byte, error) { return []byte(hidden), nil }

// gossipKeys are keys that print as placeholders.
type gossipKeys []cluster.Key

// byteSize is a number of bytes, written as 64KiB or 1MB.
type byteSize int64

// ratio is a part of a whole, from 0 to 1.
type ratio float64
