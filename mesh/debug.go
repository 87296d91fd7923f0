package mesh

import (
	"cmp"
	"encoding/json"
	"net/http"
	"slices"
	"time"

	"github.com/weft-mesh/weft/balancer"
	"github.com/weft-mesh/weft/resilience"
)

// DebugHandler serves, as JSON, what the mesh holds at the moment:
//
//   - targets: the names that the program calls or serves, the version of their tables, what
//     is wrong with them or awaited, and their clusters;
//   - clusters: how much of each limit is in use and what its threshold is, per priority; the
//     breaker; the endpoints with what policy says of them, how many calls they have, whether
//     outlier detection or health checks have them out, and their breakers;
//   - servers and resources, where there is a control plane: the state of each connection and
//     of each resource (ACK, NACK, what is wrong);
//   - warnings: what policy sets and this version does not act on.
//
// Numbers are read one after the other. Later versions may add fields. It tells where
// services are and asks nobody who they are: serve it where operators come, not callers.
func (m *Mesh) DebugHandler() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			w.Header().Set("Allow", "GET, HEAD")
			http.Error(w, "GET it", http.StatusMethodNotAllowed)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Cache-Control", "no-store")
		e := json.NewEncoder(w)
		e.SetIndent("", "  ")
		_ = e.Encode(m.debug()) // it fails if nobody is there to read
	})
}

type debugState struct {
	Targets   []debugTarget   `json:"targets"`
	Clusters  []debugCluster  `json:"clusters"`
	Servers   []debugServer   `json:"servers,omitempty"`
	Resources []debugResource `json:"resources,omitempty"`
	Warnings  []debugWarning  `json:"warnings"`
}

type debugTarget struct {
	Name     string   `json:"name"`
	Version  uint64   `json:"version,omitempty"`
	Awaits   string   `json:"awaits,omitempty"` // there is no table yet
	Error    string   `json:"error,omitempty"`  // each call's
	Clusters []string `json:"clusters,omitempty"`
}

type debugCluster struct {
	Name      string          `json:"name"`
	Limits    []debugLimit    `json:"limits"`
	Breaker   *debugBreaker   `json:"breaker,omitempty"`
	Endpoints []debugEndpoint `json:"endpoints"`
}

type debugLimit struct {
	Threshold string `json:"threshold"` // as Envoy names it
	Priority  string `json:"priority"`
	InFlight  int64  `json:"inFlight"`
	Max       uint32 `json:"max"`
}

type debugBreaker struct {
	State               string    `json:"state"`
	Since               time.Time `json:"since"`
	Probing             bool      `json:"probing,omitempty"`
	Successes           uint64    `json:"successes"`
	Failures            uint64    `json:"failures"`
	ConsecutiveFailures uint32    `json:"consecutiveFailures"`
}

type debugEndpoint struct {
	Address     string         `json:"address"`
	Hostname    string         `json:"hostname,omitempty"`
	Locality    *debugLocality `json:"locality,omitempty"`
	Priority    uint32         `json:"priority"`
	Weight      uint32         `json:"weight"`
	Health      string         `json:"health"` // as the source has it
	FailsChecks bool           `json:"failsChecks,omitempty"`
	Ejected     bool           `json:"ejected,omitempty"`
	InFlight    int64          `json:"inFlight"`
	Breaker     *debugBreaker  `json:"breaker,omitempty"`
}

type debugLocality struct {
	Region  string `json:"region,omitempty"`
	Zone    string `json:"zone,omitempty"`
	SubZone string `json:"subZone,omitempty"`
}

type debugServer struct {
	URI       string    `json:"uri"`
	Connected bool      `json:"connected"`
	Since     time.Time `json:"since"`
	LastError string    `json:"lastError,omitempty"`
}

type debugResource struct {
	Type      string    `json:"type"`
	Name      string    `json:"name"`
	Server    string    `json:"server"`
	State     string    `json:"state"` // of the newest that the server said
	ChangedAt time.Time `json:"changedAt"`
	Held      bool      `json:"held"`    // the last good one is in use
	Version   string    `json:"version"` // of that
	LastError string    `json:"lastError,omitempty"`
}

type debugWarning struct {
	Type      string   `json:"type"`
	Field     string   `json:"field"`
	Fails     bool     `json:"fails,omitempty"` // the calls that depend on it fail
	Resources []string `json:"resources"`
}

func (m *Mesh) debug() *debugState {
	s := &debugState{Targets: []debugTarget{}, Clusters: []debugCluster{}, Warnings: []debugWarning{}}
	clusters := map[string]*balancer.Cluster{}
	for _, t := range m.resolver.Targets() {
		one := debugTarget{Name: t.Name().String(), Awaits: t.Awaits()}
		if table := t.Table(); table != nil {
			one.Version, one.Error = table.Version(), text(table.Err())
			for _, c := range table.Clusters() {
				one.Clusters = append(one.Clusters, c.Name())
				clusters[c.Name()] = c
			}
		}
		s.Targets = append(s.Targets, one)
	}
	for _, c := range clusters {
		s.Clusters = append(s.Clusters, debugClusterOf(c))
	}
	slices.SortFunc(s.Clusters, func(a, b debugCluster) int { return cmp.Compare(a.Name, b.Name) })
	if xds := m.source.xds; xds != nil {
		for _, v := range xds.ServerStatus() {
			s.Servers = append(s.Servers, debugServer{URI: v.URI, Connected: v.Connected, Since: v.Since, LastError: text(v.LastError)})
		}
		for _, r := range xds.ResourceStatus() {
			s.Resources = append(s.Resources, debugResource{
				Type: r.TypeURL, Name: r.Name, Server: r.Server, State: r.State.String(), ChangedAt: r.ChangedAt,
				Held: r.Held, Version: r.Version, LastError: text(r.LastError),
			})
		}
	}
	for _, w := range m.source.warnings.List() {
		s.Warnings = append(s.Warnings, debugWarning(w))
	}
	return s
}

func debugClusterOf(c *balancer.Cluster) debugCluster {
	s := debugCluster{Name: c.Name(), Breaker: debugBreakerOf(c.Breaker()), Endpoints: []debugEndpoint{}}
	for _, u := range c.Limits().Usage() {
		s.Limits = append(s.Limits, debugLimit{u.Resource.String(), u.Priority.String(), u.InFlight, u.Max})
	}
	for _, e := range c.Endpoints() {
		one := debugEndpoint{
			Address: e.Address(), Hostname: e.Hostname(), Priority: e.Priority(), Weight: e.Weight(), Health: e.Health().String(),
			FailsChecks: e.FailsChecks(), Ejected: e.Ejected(), InFlight: e.Active(), Breaker: debugBreakerOf(e.Breaker()),
		}
		if l := e.Locality(); l != (balancer.Locality{}) {
			one.Locality = (*debugLocality)(&l)
		}
		s.Endpoints = append(s.Endpoints, one)
	}
	return s
}

func debugBreakerOf(b *resilience.Breaker) *debugBreaker {
	if b == nil {
		return nil
	}
	v := b.Status()
	return &debugBreaker{v.State.String(), v.Since, v.Probing, v.Successes, v.Failures, v.ConsecutiveFailures}
}

func text(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}
