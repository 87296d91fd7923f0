package balancer

// endpoint returns the cluster's endpoint for an entry of an assignment, and
// whether the address is new to the snapshot that is being made. It reuses what the
// cluster has for the address unless connections to it are now to be made in another
// way. before is the newest snapshot's members. The caller holds c.mu.
func (c *Cluster) endpoint(config *Config, l *LocalityEndpoints, entry *EndpointConfig, before *priorMembers) (e *Endpoint, fresh bool) {
	if e = before.find(entry.Address); e == nil {
		e = c.index[entry.Address]
	}
	if e != nil && e.generation == c.generation {
		return e, false
	}
	now := facts{entry.Address, entry.Hostname, l.Locality, l.Priority, max(1, entry.Weight), entry.Health, entry.Labels, entry.Via, entry.Check}
	socket := socketFor(config.Sockets, entry.SocketLabels)
	if e != nil && e.protocol == config.Protocol && e.form == c.form && e.socket.secures(socket) {
		e.learn(&now)
	} else {
		if e != nil {
			e.generation = c.generation // its address is taken
			e.retire()
		}
		e = &Endpoint{cluster: c, socket: socket, protocol: config.Protocol, form: c.form}
		e.learn(&now)
		c.index[entry.Address] = e
	}
	if e.original.Load() != config.OriginalDst {
		e.original.Store(config.OriginalDst)
	}
	e.generation = c.generation
	e.appeared(entry.Health)
	return e, true
}

// sweep forgets the endpoints that the newest snapshot does not have, and the one before
// has. The caller holds c.mu.
func (c *Cluster) sweep(before *snapshot) {
	for i := range before.members {
		if e := before.members[i].endpoint; e.generation != c.generation {
			delete(c.index, e.Address())
			e.retire()
		}
	}
}

// priorMembers goes through the members of a snapshot beside the entries of the next one.
// Those keep their order, mostly: to look at the member that is next takes less than to
// look in the index.
type priorMembers struct{ rest []member }

// find returns the member with an address if it is near, else nil.
func (p *priorMembers) find(address string) *Endpoint {
	const near = 4
	for i := range min(near, len(p.rest)) {
		if e := p.rest[i].endpoint; e.Address() == address {
			p.rest = p.rest[i+1:]
			return e
		}
	}
	return nil
}

// learn takes over what a source says, without allocating where nothing changed.
func (e *Endpoint) learn(now *facts) {
	if before := e.facts.Load(); before == nil || !before.equal(now) {
		changed := *now
		e.facts.Store(&changed)
	}
}

// priorLinks goes through the links of a snapshot beside the members of the next one, for
// what priorMembers does.
type priorLinks struct {
	members []member
	links   []*Link // of members; nil where there is none
	next    int
	over    []*Link // to members that find has passed over: they have moved, or are gone
}

// find returns the link to an endpoint, which may be nil, if the endpoint is near.
func (p *priorLinks) find(e *Endpoint) (l *Link, ok bool) {
	const near = 4
	for i := p.next; i < min(p.next+near, len(p.members)); i++ {
		if p.members[i].endpoint == e {
			p.over = append(p.over, p.links[p.next:i]...)
			p.next = i + 1
			return p.links[i], true
		}
	}
	return nil, false
}

// others returns the links that find has not returned.
func (p *priorLinks) others() []*Link { return append(p.over, p.links[p.next:]...) }
