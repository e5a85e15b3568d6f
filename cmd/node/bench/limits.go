package bench

import (
	"fmt"
	"os"
)

const noLimit = 1 << 30

// otherFiles is how many files the process needs beside those of its clients.
const otherFiles = 32

// checkMachine says whether this machine can hold so many connections, before the first is opened.
func checkMachine(clients, files, sources, servers, ports int) error {
	if clients > files-otherFiles {
		return fmt.Errorf("%d clients need as many open files, and this process may have %d; raise ulimit -n, or let several processes share the clients", clients, files)
	}
	if most := max(sources, 1) * servers * ports; clients > most {
		return fmt.Errorf("%d clients need as many ports, and here are %d to one address of the server; name %d addresses of this machine with --source (127.0.0.2 and so on, for a server on it)",
			clients, most, (clients+servers*ports-1)/(servers*ports))
	}
	return nil
}

// localPorts is how many connections an address of this machine can open to one of the server.
func localPorts() int {
	text, err := os.ReadFile("/proc/sys/net/ipv4/ip_local_port_range")
	if err != nil {
		return noLimit
	}
	var low, high int
	if _, err := fmt.Sscan(string(text), &low, &high); err != nil || high < low {
		return noLimit
	}
	return high - low + 1
}
