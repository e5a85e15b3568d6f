package transport

// A CloseReason says why a connection ended; it labels a metric and a log line.
type CloseReason uint8

// Why connections end. Those of the handler's are defined here too, so that every reason has one
// place and exists in the metrics from the start.
const (
	// CloseNone is no reason: the connection lives.
	CloseNone CloseReason = iota
	// ClosePeer is a close frame or end of stream from the peer.
	ClosePeer
	// CloseNetwork is a reset or another error of the socket.
	CloseNetwork
	// CloseProtocol is a violation of RFC 6455.
	CloseProtocol
	// CloseTooBig is a message over the limit of bytes or fragments.
	CloseTooBig
	// CloseSlow is a peer that does not read: its output passed the limit of bytes or of time.
	CloseSlow
	// CloseStalled is a frame that did not arrive whole in time.
	CloseStalled
	// CloseShutdown is the end of the server.
	CloseShutdown

	// CloseLoguxError is a fatal error of the Logux protocol, sent before.
	CloseLoguxError
	// CloseTimeout is a peer that did not answer a ping or a sync in time.
	CloseTimeout
	// CloseNoConnect is a peer that did not authenticate in time.
	CloseNoConnect
	// CloseDenied is a refusal by the back-end.
	CloseDenied
	// CloseBruteforce is a peer from an address with too many wrong attempts.
	CloseBruteforce
	// CloseBackendAway is a back-end that could not be asked.
	CloseBackendAway
	// CloseZombie is a connection replaced by a newer one of the same client.
	CloseZombie
	// CloseDrain is a server that drains.
	CloseDrain
	// CloseRebalance is a server that has more clients than others.
	CloseRebalance
	// CloseFlood is a peer that sent more than its limits allow.
	CloseFlood
	// CloseGap is a server that may have missed actions for its subscribers.
	CloseGap
	// CloseOperator is an operator's command.
	CloseOperator

	// CloseReasons is how many there are.
	CloseReasons
)

var closeReasons = [CloseReasons]string{
	CloseNone: "none", ClosePeer: "peer", CloseNetwork: "network", CloseProtocol: "protocol",
	CloseTooBig: "tooBig", CloseSlow: "slow", CloseStalled: "stalled", CloseShutdown: "shutdown",
	CloseLoguxError: "loguxError", CloseTimeout: "timeout", CloseNoConnect: "noConnect",
	CloseDenied: "denied", CloseBruteforce: "bruteforce", CloseBackendAway: "backendAway",
	CloseZombie: "zombie", CloseDrain: "drain", CloseRebalance: "rebalance", CloseFlood: "flood",
	CloseGap: "gap", CloseOperator: "operator",
}

// String is the reason's name in metrics and logs.
func (r CloseReason) String() string { return closeReasons[r] }
