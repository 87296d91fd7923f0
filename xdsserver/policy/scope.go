package policy

import (
	"fmt"
	"iter"
	"maps"
	"slices"
	"strings"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
)

// scope is the names of a policy, and what each means.
type scope struct {
	policy      *Policy
	rawClusters map[string]bool
}

func newScope(p *Policy) *scope {
	s := &scope{policy: p, rawClusters: make(map[string]bool)}
	for _, m := range p.Resources {
		if c, ok := m.(*clusterv3.Cluster); ok {
			s.rawClusters[c.GetName()] = true
		}
	}
	return s
}

// clusterName is the name of the cluster of a service, or of a subset of it.
func clusterName(service, subset string) string {
	if subset == "" {
		return service
	}
	return service + "|" + subset
}

// destination is what a name in a route's to means.
type destination struct {
	cluster string
	service *Service // nil for a raw cluster
	words   string   // for people
}

// destinations are the meanings of a name in the routes of host. One is right,
// none is a mistake, and several are an ambiguity.
func (s *scope) destinations(host, name string) []destination {
	var found []destination
	if own := s.policy.Services[host]; own != nil && own.hasSubset(name) {
		found = append(found, destination{clusterName(host, name), own, fmt.Sprintf("the subset %q of %q", name, host)})
	}
	if service := s.policy.Services[name]; service != nil {
		found = append(found, destination{clusterName(name, ""), service, fmt.Sprintf("the service %q", name)})
	}
	if of, subset, ok := strings.Cut(name, "/"); ok && s.policy.Services[of] != nil && s.policy.Services[of].hasSubset(subset) {
		found = append(found, destination{clusterName(of, subset), s.policy.Services[of], fmt.Sprintf("the subset %q of %q", subset, of)})
	}
	if name == passthroughTo {
		found = append(found, destination{cluster: passthroughName, words: "the address that the caller named"})
	}
	if s.rawClusters[name] && s.policy.Services[name] == nil { // one of both names is reported as such
		found = append(found, destination{cluster: name, words: fmt.Sprintf("the raw cluster %q", name)})
	}
	return found
}

// names are all that could be said in the routes of host.
func (s *scope) names(host string) iter.Seq[string] {
	own := maps.Keys(map[string]Labels(nil))
	if service := s.policy.Services[host]; service != nil {
		own = maps.Keys(service.Subsets)
	}
	subsets := func(yield func(string) bool) {
		for name, service := range s.policy.Services {
			for subset := range service.Subsets {
				if !yield(name + "/" + subset) {
					return
				}
			}
		}
	}
	return concat(own, maps.Keys(s.policy.Services), subsets, maps.Keys(s.rawClusters), slices.Values([]string{passthroughTo}))
}

// hosts are the names that clients dial: those of services and of routes, sorted.
func (s *scope) hosts() []string {
	all := slices.Collect(concat(maps.Keys(s.policy.Services), maps.Keys(s.policy.Routes)))
	all = slices.DeleteFunc(all, func(name string) bool { return strings.HasPrefix(name, inboundPrefix) })
	slices.Sort(all)
	return slices.Compact(all)
}

func (s *Service) hasSubset(name string) bool {
	_, ok := s.Subsets[name]
	return ok
}

type resourceID struct{ typeURL, name string }

// generated are the resources that services and routes become, each with the part
// of the policy that asks for it.
func (s *scope) generated() iter.Seq2[path, resourceID] {
	return func(yield func(path, resourceID) bool) {
		for _, host := range s.hosts() {
			from := path("services").field(host)
			if s.policy.Services[host] == nil {
				from = path("routes").field(host)
			}
			if !yield(from, resourceID{ListenerType, host}) || !yield(from, resourceID{RouteType, host}) {
				return
			}
		}
		for _, name := range s.servers() {
			from := path("filters").field(name)
			if s.policy.Filters[name] == nil {
				from = path("routes").field(name)
			}
			if !yield(from, resourceID{ListenerType, name}) {
				return
			}
		}
		for _, name := range sortedKeys(s.policy.Services) {
			service := s.policy.Services[name]
			for _, subset := range append([]string{""}, sortedKeys(service.Subsets)...) {
				from, cluster := path("services").field(name), clusterName(name, subset)
				if !yield(from, resourceID{ClusterType, cluster}) {
					return
				}
				if service.hasAssignment() && !yield(from, resourceID{EndpointType, cluster}) {
					return
				}
			}
		}
		if s.passesThrough() && !yield("unknownHosts", resourceID{ClusterType, passthroughName}) {
			return
		}
		if s.policy.UnknownHosts != "" {
			_ = yield("unknownHosts", resourceID{ListenerType, unknownHostsName}) &&
				yield("unknownHosts", resourceID{RouteType, unknownHostsName})
		}
	}
}
