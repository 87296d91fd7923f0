package resolver

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/weft-mesh/weft/balancer"
	"github.com/weft-mesh/weft/resolver/xds"
)

// This file is how a target comes to its next table, on the resolver's goroutine.

// update looks at what is known of the target's resources and starts on the next
// table, if it is another than the newest.
func (t *Target) update() {
	if t.released {
		return
	}
	spec, awaited, err := t.spec()
	t.unsure = awaited != ""
	switch {
	case awaited != "":
		t.awaits(awaited)
		t.supersede(nil)
	case err != nil:
		t.supersede(nil)
		if t.published.err == nil || t.published.err.Error() != err.Error() {
			t.publish(errorTable(t.name, t.nextVersion(), err), published{err: err})
		}
	case t.published.spec != nil && spec.equal(t.published.spec):
		t.supersede(nil)
	case t.pending != nil && spec.equal(t.pending.spec):
		t.complete()
	default:
		t.supersede(&pending{spec: spec})
		t.complete()
	}
}

// spec returns what the next table is to be made of, or what has to come before
// that can be told, or why there can be none.
func (t *Target) spec() (spec *tableSpec, awaited string, err error) {
	spec = &tableSpec{target: t.name, demands: &t.demands, demanded: t.demands.ready}
	routes := t.name.RouteConfig
	if t.name.Listener != "" {
		if t.name.RouteConfig != "" {
			return nil, "", errors.New("a target is made of a listener or a route configuration, not of both")
		}
		if t.listener == nil {
			t.listener = use(t.resolver, t.resolver.listeners, ListenerURL, "listener", t.name.Listener, t)
		}
		l := t.standIn()
		switch {
		case !l.known:
			return nil, l.awaited(), nil
		case l.err != nil:
			return nil, "", l.err
		case t.name.Server && l.value.unserved != nil:
			return nil, "", fmt.Errorf("listener %q cannot be served: %w", l.name, l.value.unserved)
		case !t.name.Server && !l.value.api:
			return nil, "", fmt.Errorf("listener %q is not an API listener: it is for a proxy or a server", l.name)
		}
		spec.hosting = l.value.hosting
		spec.maxStreamDuration = l.value.maxStreamDuration
		spec.streamIdleTimeout = l.value.streamIdleTimeout
		spec.keepsNoOriginals = l.value.keepsNoOriginals
		if spec.filters, awaited = t.discover(l.value.filters); awaited != "" {
			return nil, awaited, nil
		}
		if t.name.Server {
			closeServer(spec.filters)
		}
		spec.config = l.value.inline
		routes = l.value.routeConfigName
	}
	if t.routeConfig != nil && t.routeConfig.name != routes {
		unuse(t.resolver.routeConfigs, t.routeConfig, t)
		t.routeConfig = nil
	}
	if spec.config != nil {
		return spec, "", nil
	}
	if routes == "" {
		return nil, "", errors.New("a target needs the name of a listener or of a route configuration")
	}
	if t.routeConfig == nil {
		t.routeConfig = use(t.resolver, t.resolver.routeConfigs, RouteConfigURL, "route configuration", routes, t)
	}
	rc := t.routeConfig
	switch {
	case !rc.known:
		return nil, rc.awaited(), nil
	case rc.err != nil:
		return nil, "", rc.err
	}
	spec.config = rc.value
	return spec, "", nil
}

// standIn returns the target's listener, or the one that stands in while that does not
// exist; where there is none such either, the error is about the first.
func (t *Target) standIn() *resource[*listener] {
	if t.name.Otherwise == "" || !t.listener.known || !errors.Is(t.listener.err, xds.ErrNotFound) {
		unuse(t.resolver.listeners, t.otherwise, t)
		t.otherwise = nil
		return t.listener
	}
	if t.otherwise == nil {
		t.otherwise = use(t.resolver, t.resolver.listeners, ListenerURL, "listener", t.name.Otherwise, t)
	}
	if errors.Is(t.otherwise.err, xds.ErrNotFound) {
		return t.listener
	}
	return t.otherwise
}

// equal reports whether both make the same table.
func (s *tableSpec) equal(o *tableSpec) bool {
	return s.config == o.config && s.hosting == o.hosting && s.maxStreamDuration == o.maxStreamDuration &&
		s.streamIdleTimeout == o.streamIdleTimeout && s.keepsNoOriginals == o.keepsNoOriginals &&
		slices.Equal(s.filters, o.filters) && slices.Equal(s.demanded, o.demanded)
}

// supersede takes p, or nothing, for the pending table. The clusters of p are in
// use from here on.
func (t *Target) supersede(p *pending) {
	old := t.pending
	t.pending = p
	if p != nil {
		p.nodes = t.resolver.nodes(p.spec.clusters())
	}
	if old != nil {
		old.release()
		for _, n := range old.nodes {
			delete(n.pending, t)
		}
	}
	if p != nil {
		for _, n := range p.nodes {
			n.pending[t] = true
		}
	}
	if old != nil {
		for _, n := range old.nodes {
			n.unused()
		}
	}
}

// complete publishes the pending table if its clusters are ready. Until then the
// old one stays: make before break.
func (t *Target) complete() {
	p := t.pending
	for p.readyTo < len(p.nodes) && p.nodes[p.readyTo].ready() {
		p.readyTo++
	}
	if awaited := p.awaited(); awaited != "" {
		t.awaits(awaited)
		return
	}
	if n := t.newlyMissing(p); n != nil && p.hold(t) {
		t.awaits(n.awaited() + ", which does not exist")
		return
	}
	clusters := make(map[string]*balancer.Cluster, len(p.nodes))
	for _, n := range p.nodes {
		clusters[n.name] = n.cluster
	}
	table := p.spec.build(t.nextVersion(), func(name string) *balancer.Cluster { return clusters[name] })
	t.publish(table, published{spec: p.spec, nodes: p.nodes})
}

// How long a table waits that would send calls to a cluster which the source says
// does not exist. Mostly that is policy which has moved on: what comes next is on
// its way, and until it is there the old table is right. But a policy that names
// what never comes must take effect, too. With an old table there is as much time
// as a resource has to come in the xDS protocol; without one, callers are waiting.
// A Static changes all at once: what it does not have does not come.
const (
	missingPatience      = 15 * time.Second
	missingPatienceFirst = time.Second
)

// release stops the timer of hold.
func (p *pending) release() {
	if p.held != nil {
		p.held.Stop()
	}
}

// newlyMissing returns a cluster of p that does not exist and that the old table
// does not send calls to in vain already; nil if there is none.
func (t *Target) newlyMissing(p *pending) *clusterNode {
	if _, whole := t.resolver.config.Source.(*Static); whole {
		return nil
	}
	for _, n := range p.nodes {
		if n.missing && !n.users[t] {
			return n
		}
	}
	return nil
}

// hold reports whether p is to wait for what is missing, and has t look again when
// it has waited enough.
func (p *pending) hold(t *Target) bool {
	patience := missingPatience
	if t.published.spec == nil {
		patience = missingPatienceFirst
	}
	if p.held == nil {
		p.heldSince = time.Now()
		r := t.resolver
		p.held = time.AfterFunc(patience, func() { r.box.do(func() { r.dirty[t] = true }) })
	}
	return time.Since(p.heldSince) < patience
}

// awaited names a few of the clusters that are not ready, if any.
func (p *pending) awaited() string {
	const most = 3
	var names []string
	from := p.nodes[p.readyTo:]
	if len(from) == 0 {
		from = p.nodes // one that was ready may no longer be
	}
	for _, n := range from {
		if n.ready() {
			continue
		}
		if len(names) == most {
			names = append(names, "...")
			break
		}
		names = append(names, n.awaited())
	}
	return strings.Join(names, ", ")
}

func (t *Target) nextVersion() uint64 {
	if table := t.table.Load(); table != nil {
		return table.version + 1
	}
	return 1
}

// publish makes a table the newest and lets go of the clusters that only the one
// before used.
func (t *Target) publish(table *Table, by published) {
	old := t.published
	if t.pending != nil {
		t.pending.release()
	}
	t.published, t.pending = by, nil
	for _, n := range old.nodes {
		delete(n.users, t)
	}
	for _, n := range by.nodes {
		delete(n.pending, t)
		n.users[t] = true
	}
	t.table.Store(table)
	t.waiting.Store(nil)
	if table.version == 1 {
		close(t.first)
	}
	t.log(table)
	for _, s := range slices.Clone(t.subscribers) {
		if !s.cancelled.Load() {
			s.f(table)
		}
	}
	for _, n := range by.nodes {
		n.settleDeletion()
	}
	for _, n := range old.nodes {
		n.unused()
	}
}

func (t *Target) log(table *Table) {
	if table.err != nil {
		t.resolver.log.Warn("target has no usable policy", "target", t.name.String(), "table", table.version, "error", table.err)
		return
	}
	t.resolver.log.Debug("published a table", "target", t.name.String(), "table", table.version, "clusters", len(table.clusters))
}

func (t *Target) awaits(what string) { t.waiting.Store(&what) }

// end lets go of the target's resources and clusters.
func (t *Target) end() {
	t.released = true
	t.subscribers = nil
	unuse(t.resolver.listeners, t.listener, t)
	unuse(t.resolver.listeners, t.otherwise, t)
	unuse(t.resolver.routeConfigs, t.routeConfig, t)
	t.demands.end()
	for _, res := range t.extensions {
		unuse(t.resolver.extensions, res, t)
	}
	t.supersede(nil)
	for _, n := range t.published.nodes {
		delete(n.users, t)
		n.unused()
	}
}

// unavailable reports whether err says that a source cannot be reached, which ends.
func unavailable(err error) bool { return errors.Is(err, xds.ErrUnavailable) }
