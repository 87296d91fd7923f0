package balancer

// endpoint returns the cluster's endpoint for an entry of an assignment, and
// whether the address is new to the snapshot that is being made. It reuses what the
// cluster has for the address unless connections to it are now to be made in another
// way. The caller holds c.mu.
func (c *Cluster) endpoint(config *Config, l *LocalityEndpoints, entry *EndpointConfig) (e *Endpoint, fresh bool) {
	e = c.index[entry.Address]
	if e != nil && e.generation == c.generation {
		return e, false
	}
	now := facts{entry.Address, entry.Hostname, l.Locality, l.Priority, max(1, entry.Weight), entry.Health, entry.Labels, config.OriginalDst, entry.Via, entry.Check}
	socket := socketFor(config.Sockets, entry.SocketLabels)
	if e != nil && e.protocol == config.Protocol && e.form == c.form && e.socket.secures(socket) {
		e.learn(&now)
	} else {
		e.retire()
		e = &Endpoint{cluster: c, socket: socket, protocol: config.Protocol, form: c.form}
		e.learn(&now)
		c.index[entry.Address] = e
	}
	e.generation = c.generation
	e.appeared(entry.Health)
	return e, true
}

// sweep forgets the endpoints that the newest snapshot does not have. The caller
// holds c.mu.
func (c *Cluster) sweep() {
	for address, e := range c.index {
		if e.generation != c.generation {
			delete(c.index, address)
			e.retire()
		}
	}
}

// learn takes over what a source says, without allocating where nothing changed.
func (e *Endpoint) learn(now *facts) {
	if before := e.facts.Load(); before == nil || !before.equal(now) {
		changed := *now
		e.facts.Store(&changed)
	}
}
