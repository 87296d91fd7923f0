package balancer

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"
)

// Override names the endpoint that a call is to go to, whatever the policy would choose:
// a session's (gRFC A55; Envoy's LoadBalancerContext::OverrideHost). Subsets, priorities
// and localities have no say in it. Its zero value names none.
type Override struct {
	// Addresses are "ip:port", separated by commas, of which the first counts that is
	// in the cluster and can be had.
	Addresses string
	// Strict fails a call whose endpoint cannot be had, with an *[OverrideError].
	// Otherwise the policy chooses.
	Strict bool
	// AnyHealth picks an endpoint whatever is known of its health, as long as it can be
	// connected to. Otherwise it must be one of Config.OverrideHealth.
	AnyHealth bool
}

// OverrideError says that a strict [Override] could not be followed. It is an
// ErrNoEndpoints to errors.Is.
type OverrideError struct {
	Cluster, Addresses string
	// Missing says that the cluster has no such endpoint; else it is not healthy, was
	// tried already, or cannot be reached.
	Missing bool
}

// Error names the cluster and the endpoint.
func (e *OverrideError) Error() string {
	what := "is not to be had"
	if e.Missing {
		what = "is not in it"
	}
	return fmt.Sprintf("cluster %q: %v: %s, which the call must go to, %s", e.Cluster, ErrNoEndpoints, e.Addresses, what)
}

// Is reports whether target is ErrNoEndpoints.
func (e *OverrideError) Is(target error) bool { return target == ErrNoEndpoints }

// HealthSet is a set of Health.
type HealthSet uint8

// NoHealth is the set of none, where zero means a default.
const NoHealth HealthSet = 1 << 7

// Healths returns the set of these.
func Healths(list ...Health) HealthSet {
	var s HealthSet
	for _, h := range list {
		s |= 1 << h
	}
	return s
}

// Has reports whether h is in the set.
func (s HealthSet) Has(h Health) bool { return s&(1<<h) != 0 }

// addressIndex finds members of a snapshot by their addresses. It is made when a call
// first asks for one.
type addressIndex struct {
	once    sync.Once
	members map[string]int
}

func (x *addressIndex) find(s *snapshot, address string) (member int, ok bool) {
	x.once.Do(func() {
		x.members = make(map[string]int, len(s.members))
		for i, m := range s.members {
			x.members[m.endpoint.Address()] = i
		}
	})
	member, ok = x.members[address]
	return member, ok
}

// overridable reports whether a session may keep to a member of the snapshot.
func (v *View) overridable(s *snapshot, member int) bool {
	set := s.config.OverrideHealth
	if set == 0 {
		set = Healths(HealthUnknown, Healthy)
		if !v.options.GRPC { // gRFC A55 leaves it out
			set |= Healths(Degraded)
		}
	}
	health := s.members[member].health
	if health == HealthUnknown || health == Healthy { // what was found out counts
		switch s.classes[member] {
		case classDegraded:
			health = Degraded
		case classUnhealthy, classUncounted:
			health = Unhealthy
		}
	}
	return set.Has(health)
}

// pickOverride is Pick for a call with an override. done is false if the policy is to
// choose. A call waits for its endpoint to connect.
func (v *View) pickOverride(p *picker, info *PickInfo) (l *Link, done bool, err error) {
	missing := true
	for rest := info.Override.Addresses; rest != ""; {
		var address string
		address, rest, _ = strings.Cut(rest, ",")
		k, ok := p.snapshot.addresses.find(p.snapshot, strings.TrimSpace(address))
		if !ok {
			continue
		}
		missing = false
		l := p.links[k]
		if l == nil || slices.Contains(info.Exclude, l.endpoint) || !info.Override.AnyHealth && !v.overridable(p.snapshot, k) {
			continue
		}
		admitted := l.endpoint.admits()
		if !admitted || !v.connected(l) {
			now := time.Now()
			if !admitted || v.options.OnDemand || !l.connects(now) {
				continue
			}
			l.demand(now)
			return nil, true, ErrConnecting
		}
		if p.drops != nil && len(info.Exclude) == 0 {
			if err := p.drops.drop(); err != nil {
				return nil, true, err
			}
		}
		l, err := l.take(info)
		return l, true, err
	}
	if info.Override.Strict && p.snapshot.err == nil {
		return nil, true, &OverrideError{v.cluster.name, info.Override.Addresses, missing}
	}
	return nil, false, nil
}

// usedByOverrides keeps links to endpoints that are not well where sessions may keep to
// them. Where connections are made ahead of calls, these are the links to draining
// endpoints that there are (gRFC A55).
func (r *round) usedByOverrides(used []bool) {
	set := r.built.config.OverrideHealth
	switch {
	case set&^(Healths(HealthUnknown, Healthy, Degraded)|NoHealth) == 0:
	case r.options.OnDemand:
		for k := range used {
			used[k] = used[k] || r.overridable(r.built, k)
		}
	case set.Has(Draining):
		for k, class := range r.built.classes {
			used[k] = used[k] || class == classDraining && r.links[k] != nil
		}
	}
}

// Overrides returns the headers in which calls name their endpoints themselves; none
// unless policy says so.
func (v *View) Overrides() []HeaderKey { return v.picker.Load().overrides }

// HeaderKey is a header's name in the forms that protocols key their headers by: in
// lower case, and as net/http has it.
type HeaderKey struct{ Lower, Canonical string }
