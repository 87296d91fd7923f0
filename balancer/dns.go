package balancer

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"time"
)

// DNSResolver looks up host names.
type DNSResolver interface {
	// LookupIP returns the addresses of host and how long they may be kept, zero
	// if that is not known. Network is "ip4", "ip6", or "ip" for both. An answer
	// without addresses is an error. It must be safe for concurrent use and return
	// when ctx ends.
	LookupIP(ctx context.Context, network, host string) (addresses []netip.Addr, ttl time.Duration, err error)
}

const (
	defaultRefreshRate = 5 * time.Second  // envoy.config.cluster.v3.Cluster.dns_refresh_rate
	lookupTimeout      = 15 * time.Second // three times what resolvers allow a server
)

// lookups are the host names that a cluster of a DNS kind follows. They are guarded
// by the cluster's mutex.
type lookups struct {
	settings DNS
	names    map[string]*hostName // by "host:port"
}

// hostName is one name and what was found out about it.
type hostName struct {
	host, port string
	cancel     context.CancelFunc // nil if nothing has to be looked up

	answered  bool
	addresses []netip.Addr // of the newest answer that had some
	err       error        // of the newest look-up
}

// follow looks up the names of config and no others. Names that stay keep what is
// known of them.
func (d *lookups) follow(c *Cluster, config *Config) {
	before := d.names
	restart := d.settings != config.DNS
	d.names, d.settings = map[string]*hostName{}, config.DNS
	for _, address := range namesOf(config) {
		if d.names[address] != nil {
			continue
		}
		old := before[address]
		if old != nil && !restart {
			delete(before, address)
			d.names[address] = old
			continue
		}
		d.names[address] = c.lookUp(address, old, config.DNS)
	}
	for _, name := range before {
		name.stop()
	}
}

// stop ends all look-ups and forgets what they found.
func (d *lookups) stop() {
	for _, name := range d.names {
		name.stop()
	}
	d.names = nil
}

func (n *hostName) stop() {
	if n.cancel != nil {
		n.cancel()
	}
}

// namesOf returns the "host:port"s that a cluster of a DNS kind has to look up.
func namesOf(config *Config) (names []string) {
	logical := config.Discovery == DiscoverLogicalDNS
	if config.Static == nil || !logical && config.Discovery != DiscoverStrictDNS {
		return nil
	}
	for _, l := range config.Static.Localities {
		for _, e := range l.Endpoints {
			names = append(names, e.Address)
			if logical {
				return names
			}
		}
	}
	return names
}

// lookUp starts to follow a name, from what was known of it. The caller holds c.mu.
func (c *Cluster) lookUp(address string, old *hostName, settings DNS) *hostName {
	n := new(hostName)
	if old != nil {
		n.answered, n.addresses, n.err = old.answered, old.addresses, old.err
	}
	n.host, n.port, n.err = net.SplitHostPort(address)
	if n.err != nil {
		n.answered = true
		return n
	}
	if ip, err := netip.ParseAddr(n.host); err == nil {
		n.answered, n.addresses = true, []netip.Addr{ip}
		return n
	}
	var ctx context.Context
	ctx, n.cancel = context.WithCancel(context.Background())
	c.running.Go(func() { c.refresh(ctx, n, settings) })
	return n
}

// refresh looks a name up again and again until ctx ends.
func (c *Cluster) refresh(ctx context.Context, n *hostName, settings DNS) {
	rate := settings.RefreshRate
	if rate <= 0 {
		rate = defaultRefreshRate
	}
	retry := backoff{base: settings.FailureBase, max: settings.FailureMax, multiplier: 2, jitter: 0.5}
	if retry.base <= 0 {
		retry.base = rate
	}
	if retry.max <= 0 {
		retry.max = 10 * retry.base
	}
	failures := 0
	for {
		addresses, ttl, err := c.lookUpOnce(ctx, n.host, settings.Family)
		wait := rate
		switch {
		case err != nil:
			failures++
			wait = retry.delay(failures)
		case settings.RespectTTL && ttl > 0:
			failures, wait = 0, ttl
		default:
			failures = 0
		}
		if !c.answer(ctx, n, addresses, err) {
			return
		}
		timer := time.NewTimer(max(wait, time.Millisecond))
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-timer.C:
		}
	}
}

func (c *Cluster) lookUpOnce(ctx context.Context, host string, family AddressFamily) ([]netip.Addr, time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, lookupTimeout)
	defer cancel()
	addresses, ttl, err := c.resolver.LookupIP(ctx, family.network(), host)
	if err != nil {
		return nil, 0, err
	}
	addresses = family.choose(addresses)
	if len(addresses) == 0 {
		return nil, 0, fmt.Errorf("lookup %s: no address of the family that policy wants", host)
	}
	return addresses, ttl, nil
}

// answer takes the result of a look-up unless ctx has ended, which it reports. A
// failure leaves the addresses that are known.
func (c *Cluster) answer(ctx context.Context, n *hostName, addresses []netip.Addr, err error) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if ctx.Err() != nil {
		return false
	}
	if err != nil && n.err == nil {
		c.logger.Warn("cannot look up a host name; keeping the addresses that are known",
			"cluster", c.name, "host", n.host, "addresses", len(n.addresses), "error", err)
	}
	news := !n.answered || err == nil && !slices.Equal(addresses, n.addresses) ||
		err != nil && len(n.addresses) == 0
	n.answered, n.err = true, err
	if err == nil {
		n.addresses = addresses
	}
	if news {
		c.publish()
	}
	return true
}

// assignment is config's with host names replaced by their addresses. While none is
// known the error is ErrConnecting, or after all look-ups have failed one of theirs.
func (d *lookups) assignment(config *Config) (*Assignment, error) {
	if config.Static == nil {
		return new(Assignment), nil
	}
	a := *config.Static
	a.Localities = make([]LocalityEndpoints, len(config.Static.Localities))
	found, waiting := false, false
	var failure error
	for i, l := range config.Static.Localities {
		named := l.Endpoints
		l.Endpoints = make([]EndpointConfig, 0, len(named))
		for _, e := range named {
			n := d.names[e.Address]
			if n == nil {
				continue // LOGICAL_DNS has one name
			}
			waiting = waiting || !n.answered
			if n.err != nil && failure == nil {
				failure = n.err
			}
			for _, ip := range n.addresses {
				found = true
				l.Endpoints = append(l.Endpoints, e.at(n, ip))
			}
		}
		a.Localities[i] = l
	}
	switch {
	case found:
		return &a, nil
	case waiting:
		return nil, ErrConnecting
	}
	return &a, failure
}

// at is the endpoint with one of its addresses in place of its name.
func (e EndpointConfig) at(n *hostName, ip netip.Addr) EndpointConfig {
	if e.Hostname == "" {
		e.Hostname = n.host
	}
	e.Address = net.JoinHostPort(ip.String(), n.port)
	return e
}
