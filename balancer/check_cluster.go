package balancer

import (
	"cmp"
	"context"
	"net"
	"reflect"
	"strings"
)

// allChecks are the conditions that active health checks answer for.
const allChecks = failsChecks | degradedByCheck | uncounted

// check has the endpoints of the newest snapshot checked as its policy says, and no
// others. It reports whether the condition of any may have changed. The caller holds c.mu.
func (c *Cluster) check() (changed bool) {
	checks := c.snapshot.config.HealthChecks
	if c.newProber == nil || len(checks) == 0 && len(c.checked) == 0 {
		c.checks = nil
		return false
	}
	same := reflect.DeepEqual(checks, c.checks)
	c.checks = checks
	before := c.checked
	c.checked = make(map[*Endpoint]*checked, len(c.snapshot.members))
	for _, part := range c.snapshot.populations() {
		for i := range part {
			changed = c.checkOne(part[i].endpoint, before, same) || changed
		}
	}
	for _, k := range before {
		c.endCheck(k)
		if c.checked[k.endpoint] == nil {
			k.endpoint.mark(allChecks, false)
			changed = true
		}
	}
	return changed
}

// checkOne checks one endpoint, and takes it out of before if it goes on as it did.
func (c *Cluster) checkOne(e *Endpoint, before map[*Endpoint]*checked, same bool) (changed bool) {
	facts := e.facts.Load()
	if len(c.checks) == 0 || facts.check.Disabled || c.checked[e] != nil {
		return false
	}
	old := before[e]
	if old != nil && same && old.how == facts.check {
		c.checked[e] = old
		delete(before, e)
		return false
	}
	if old == nil && !e.published {
		e.mark(failsChecks, true)
		e.mark(uncounted, c.snapshot.config.IgnoreUnchecked)
		changed = true
	}
	k := c.newChecked(e, c.checks)
	c.checked[e] = k
	k.counted = true
	c.awaited++
	e.checked.Store(k)
	e.active.Or(isChecked)
	return changed
}

// endCheck stops checking an endpoint, or doing so as before. The caller holds c.mu.
func (c *Cluster) endCheck(k *checked) {
	k.stop()
	c.uncount(k)
	if k.endpoint.checked.CompareAndSwap(k, nil) {
		k.endpoint.active.And(^int64(isChecked))
	}
}

// uncount notes that nothing is awaited of k any more. The caller holds c.mu.
func (c *Cluster) uncount(k *checked) {
	if k.counted {
		k.counted = false
		c.awaited--
	}
}

// heed heeds a result: it changed what is thought of the endpoint, the endpoint passed,
// it has now been checked for the first time.
func (c *Cluster) heed(k *checked, changed, passed, arrived bool) {
	absolved := passed && k.endpoint.has(ejected)
	if !arrived && !absolved {
		if changed {
			c.healthChanged()
		}
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed || c.checked[k.endpoint] != k {
		return // and endCheck has counted
	}
	if arrived {
		c.uncount(k)
	}
	if absolved && !k.endpoint.has(failsChecks) {
		c.detector.absolve(k.endpoint)
	}
	if c.isSettled || c.awaited == 0 { // else nobody looks yet
		c.reassess()
	}
	c.settle()
}

// used notes that the cluster has got a call.
func (c *Cluster) used() {
	if !c.traffic.Load() && !c.traffic.Swap(true) {
		go c.hurry()
	}
}

func (c *Cluster) hurry() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, k := range c.checked {
		k.hurry()
	}
}

// target is the endpoint for a prober.
func (k *checked) target(check *HealthCheck) CheckTarget {
	var host string
	switch {
	case check.HTTP != nil:
		host = check.HTTP.Host
	case check.GRPC != nil:
		host = check.GRPC.Authority
	}
	socket := k.socket(check)
	return CheckTarget{
		Check:  check,
		Host:   cmp.Or(k.how.Hostname, host, k.cluster.host(), k.endpoint.Address()),
		Secure: socket.TLS != nil,
		Dial: func(ctx context.Context, alpn ...string) (net.Conn, error) {
			if socket.Err != nil {
				return nil, socket.Err
			}
			if len(check.ALPN) > 0 {
				alpn = check.ALPN
			}
			dial := k.endpoint.Connection().dial
			if socket == k.endpoint.socket {
				dial = func(ctx context.Context, _, address string) (net.Conn, error) {
					return k.endpoint.Dial(ctx, address, nil)
				}
			}
			conn, err := dial(ctx, "tcp", k.address())
			if err != nil || socket.TLS == nil {
				return conn, err
			}
			return socket.TLS.Handshake(ctx, conn, k.endpoint.Hostname(), alpn)
		},
	}
}

// host is the cluster's name where that can be a host, as those of control planes with
// bars in them cannot.
func (c *Cluster) host() string {
	if strings.ContainsAny(c.name, "|/?#@ ") {
		return ""
	}
	return c.name
}

// socket is how connections of a check are secured. The caller holds c.mu.
func (k *checked) socket(check *HealthCheck) *Socket {
	if check.SocketLabels != nil {
		return socketFor(k.cluster.config.Sockets, check.SocketLabels)
	}
	return k.endpoint.socket
}

// address is where the endpoint is checked. It is asked for each connection, see
// Endpoint.Address.
func (k *checked) address() string {
	address := k.endpoint.Address()
	host, port, err := net.SplitHostPort(address)
	if err != nil || k.how.Host == "" && k.how.Port == "" {
		return address
	}
	return net.JoinHostPort(cmp.Or(k.how.Host, host), cmp.Or(k.how.Port, port))
}
