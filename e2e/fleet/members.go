package fleet

// Members is how many nodes the node sees, itself included; 0 when it does not answer.
func (n *Node) Members() int { return int(n.Metric("logux_members")) }
