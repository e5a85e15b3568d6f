//go:build linux

package main

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"time"
)

// A scenario is one kind of load. Each runs on a fresh server where the program starts it itself; those of a cluster start as many servers as they need.
type scenario struct {
	name    string
	run     func(*bench, *measurement)
	cluster bool
}

var scenarios = []scenario{
	{name: "idle", run: idle},
	{name: "fanout", run: fanout},
	{name: "manychan", run: manyChannels},
	{name: "clientpub", run: clientPublishes},
	{name: "roundtrip", run: roundTrip},
	{name: "storm", run: storm},
	{name: "stuck", run: stuckReaders},
	{name: "cluster-publish", run: clusterPublish, cluster: true},
	{name: "cluster-latency", run: clusterLatency, cluster: true},
	{name: "cluster-redis", run: clusterRedis, cluster: true},
	{name: "cluster-interest", run: clusterInterest, cluster: true},
	{name: "cluster-anonymous", run: clusterAnonymous, cluster: true},
}

// A measurement is one scenario on one server.
type measurement struct {
	*result
	server *server
	stub   *stub
	fleet  *fleet
	name   string // of users and channels

	// Of a cluster.
	program program
	spent   time.Duration // CPU time of nodes and Redis
	missed  missed
}

// missed is what must not be, summed up over all that a scenario of a cluster starts.
type missed struct{ lost, duplicated, wrong, undone, closed int64 }

// connect brings n clients up, so many at a time; each subscribes to one of the channels, or to none if
// there are no channels. The last silent ones subscribe to nothing. It reports whether any is ready.
func (b *bench) connect(m *measurement, n, silent, channels, parallel int) bool {
	channel := func(i int) int {
		if i >= n-silent || channels == 0 {
			return -1
		}
		return i % channels
	}
	f, err := newFleet(m.server.client, m.server.path, m.name, n, channels, channel)
	if err != nil {
		m.faults = append(m.faults, err.Error())
		return false
	}
	m.fleet = f
	f.control = newControl(f, []netip.AddrPort{m.server.control}, m.server.posts, b.o.secret, b.o.size, b.o.window)
	f.parallel = parallel
	start, cpu := now(), m.server.process.cpu()
	f.run(b.o.limit, func() bool { return f.connected+f.failed+f.closed >= n || b.stopped() })
	took := seconds(now() - start)
	m.add("connect_time_s", took)
	m.add("connect_rate", float64(f.connected)/took)
	m.addLatency("ready", &f.ready)
	m.addPer("connect_cpu_us_each", m.server.process.cpu()-cpu, float64(f.connected)*1e-6)
	m.count("failed", int64(n-f.connected))
	if f.connected == 0 {
		m.verdict()
	}
	return f.connected > 0
}

// addPer adds the CPU time per piece of work, if there is a process to look at.
func (m *measurement) addPer(name string, cpu time.Duration, work float64) {
	if m.server.process.pid != 0 && work > 0 {
		m.add(name, cpu.Seconds()/work)
	}
}

func seconds(nanoseconds int64) float64 { return float64(nanoseconds) / 1e9 }

// verdict adds the figures that must be 0, and what went wrong first.
func (m *measurement) verdict() {
	f := m.fleet
	f.finish()
	m.count("lost", f.tally.lost)
	m.count("duplicated", f.tally.duplicated+int64(f.extra))
	m.count("wrong_channel", f.tally.wrong)
	m.add("overtaken", float64(f.tally.overtaken))
	m.count("undone", int64(f.undone))
	m.count("lost_connections", int64(f.closed))
	if f.failure != "" {
		m.faults = append(m.faults, m.scenario+": "+f.failure)
	}
}

// idle: how much a client costs that does nothing but ping each ten seconds.
func idle(b *bench, m *measurement) {
	memory := m.server.process.rss()
	profiled := b.profile(m, "connect")
	if !b.connect(m, b.o.idleClients, 0, min(b.o.idleClients, 1000), 200) {
		profiled()
		return
	}
	profiled()
	f := m.fleet
	f.pingEvery, f.pingStart = int64(10*time.Second), now()
	cpu, start := m.server.process.cpu(), now()
	f.pass(b.o.rest)
	if m.server.process.pid != 0 {
		m.add("rss_bytes_per_conn", float64(m.server.process.rss()-memory)/float64(max(f.connected, 1)))
		m.add("rss_end_mb", float64(m.server.process.rss())/1e6)
		percent := (m.server.process.cpu() - cpu).Seconds() / seconds(now()-start) * 100
		m.add("idle_cpu_pct", percent)
		m.add("idle_cpu_pct_per_1000", percent/float64(max(f.connected, 1))*1000)
	}
	m.add("client_pings", float64(f.pongs))
	b.profileHeap(m)
	m.verdict()
}

// fanout: one channel with many subscribers, at the highest rate and at ten publications a second.
func fanout(b *bench, m *measurement) {
	if b.connect(m, b.o.clients, 0, 1, 200) {
		b.publish(m, "max", b.o.window, 0)
		b.publish(m, "10ps", 0, 10)
		m.verdict()
	}
}

// manyChannels: many channels with ten subscribers each.
func manyChannels(b *bench, m *measurement) {
	if b.connect(m, b.o.clients, 0, max(b.o.clients/10, 1), 200) {
		b.publish(m, "max", b.o.window, 0)
		m.verdict()
	}
}

// clientPublishes: one client has ten actions a second re-sent to the channel of all the others.
func clientPublishes(b *bench, m *measurement) {
	n := b.o.clients + 1
	if !b.connect(m, n, 1, 1, 200) {
		return
	}
	f, t := m.fleet, m.fleet.tally
	cpu, start := m.server.process.cpu(), now()
	for !b.stopped() && now()-start < int64(b.o.time) && f.closed+f.failed == 0 {
		f.publishFrom(n - 1)
		f.pass(100 * time.Millisecond)
	}
	f.run(5*time.Second, func() bool { return t.open == 0 || b.stopped() })
	m.add("deliveries_per_s", float64(t.delivered)/seconds(now()-start))
	m.addLatency("delivery", &t.latency)
	m.addPer("cpu_s_per_million", m.server.process.cpu()-cpu, float64(t.delivered)/1e6)
	m.verdict()
}

// publish loads the control API for a while and adds what came out of it.
func (b *bench) publish(m *measurement, prefix string, window int, rate float64) {
	f, t := m.fleet, m.fleet.tally
	t.restart()
	profiled := b.profile(m, prefix)
	published := len(t.publications)
	cpu, self, start := m.server.process.cpu(), process{pid: os.Getpid()}.cpu(), now()
	f.control.start(window, rate)
	f.run(b.o.time, b.stopped)
	f.control.stop()
	f.run(5*time.Second, func() bool { return f.control.settled() || b.stopped() })
	took := seconds(now() - start)
	cpu = m.server.process.cpu() - cpu
	self = process{pid: os.Getpid()}.cpu() - self
	profiled()

	m.add(prefix+"_publish_rate", float64(len(t.publications)-published)/took)
	m.add(prefix+"_deliveries_per_s", float64(t.delivered)/took)
	m.addLatency(prefix+"_delivery", &t.latency)
	m.addPer(prefix+"_cpu_s_per_million", cpu, float64(t.delivered)/1e6)
	m.add(prefix+"_generator_cpu_s_per_million", self.Seconds()/max(float64(t.delivered)/1e6, 1e-9))
	if m.server.process.pid != 0 {
		m.add(prefix+"_rss_end_mb", float64(m.server.process.rss())/1e6)
	}
	if f.control.stalls > 0 {
		m.add(prefix+"_stalls", float64(f.control.stalls))
	}
}

// roundTrip: each client has one action under way all the time.
func roundTrip(b *bench, m *measurement) {
	if !b.connect(m, b.o.actors, 0, 0, 200) {
		return
	}
	f := m.fleet
	profiled := b.profile(m, "max")
	requests, commands := m.stub.requests.Load(), m.stub.commands.Load()
	cpu, start := m.server.process.cpu(), now()
	f.startActing()
	f.run(b.o.time, b.stopped)
	f.acting = false
	f.run(5*time.Second, func() bool { return f.busy() == 0 || b.stopped() })
	took := seconds(now() - start)
	cpu = m.server.process.cpu() - cpu
	profiled()
	m.add("actions_per_s", float64(f.trips.N)/took)
	m.addLatency("action", &f.trips)
	m.addPer("cpu_s_per_million_actions", cpu, float64(f.trips.N)/1e6)
	if commands = m.stub.commands.Load() - commands; commands > 0 {
		m.add("backend_requests_per_action", float64(m.stub.requests.Load()-requests)/float64(commands))
	}
	m.count("without_outcome", int64(f.busy()))
	m.verdict()
}

// storm: all clients connect at once.
func storm(b *bench, m *measurement) {
	profiled := b.profile(m, "storm")
	if b.connect(m, b.o.stormClients, 0, min(b.o.stormClients, 1000), b.o.stormClients) {
		m.verdict()
	}
	profiled()
}

// stuckReaders: of the subscribers of a busy channel some read nothing any more. The others must not
// notice.
func stuckReaders(b *bench, m *measurement) {
	const size = 20_000 // bytes of an action
	o := *b.o
	o.size = size
	c := *b
	c.o = &o
	if !c.connect(m, b.o.clients, 0, 1, 200) {
		return
	}
	rate := float64(b.o.stuckRate) / size
	c.publish(m, "without", 0, rate)
	before := m.server.process.rss()
	stuck := min(b.o.stuck, b.o.clients/2)
	m.fleet.stick(stuck)
	o.time *= 3
	grown := int64(0)
	m.fleet.everySecond = func() { grown = max(grown, m.server.process.rss()-before) }
	c.publish(m, "with", 0, rate)
	if m.server.process.pid != 0 {
		m.add("rss_grown_mb", float64(grown)/1e6)
	}
	if without, _ := m.value("without_delivery_p99_ms"); without > 0 {
		with, _ := m.value("with_delivery_p99_ms")
		m.add("p99_with_to_without", with/without)
	}
	// The end of a connection follows what lies in its socket.
	m.fleet.run(time.Second, func() bool { return m.fleet.unstick() == stuck })
	m.add("stuck", float64(stuck))
	m.add("stuck_closed", float64(m.fleet.unstick()))
	m.verdict()
}

// profile fetches a CPU profile of the server while load goes on, if the user wants profiles; the
// function that it returns waits for the end.
func (b *bench) profile(m *measurement, name string) (wait func()) {
	if b.o.profiles == "" || m.server.admin == "" {
		return func() {}
	}
	file := b.profileFile(m, name)
	done := make(chan error, 1)
	go func() { done <- fetchCPU(m.server.admin, b.o.time, file) }()
	return func() {
		if err := <-done; err != nil {
			fmt.Fprintln(os.Stderr, "bench: profile:", err)
		}
	}
}

// profileHeap fetches what the server's memory is used for, if the user wants profiles.
func (b *bench) profileHeap(m *measurement) {
	if b.o.profiles == "" || m.server.admin == "" {
		return
	}
	if err := fetchHeap(m.server.admin, b.profileFile(m, "heap")); err != nil {
		fmt.Fprintln(os.Stderr, "bench: profile:", err)
	}
}

func (b *bench) profileFile(m *measurement, name string) string {
	return filepath.Join(b.o.profiles, fmt.Sprintf("%s-%s-%s.pprof", m.server.name, m.scenario, name))
}
