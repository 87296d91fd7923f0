package balancer

import (
	"maps"
	"slices"
	"strconv"
	"strings"
)

// Subsets divides a cluster's endpoints by their labels: a call that asks for values of
// labels ([PickInfo].Subset) goes to the endpoints that have them
// (envoy.config.cluster.v3.Cluster.LbSubsetConfig, and
// envoy.extensions.load_balancing_policies.subset.v3.Subset).
//
// Each subset is balanced over by itself: it has priorities, localities and panic of
// its own.
type Subsets struct {
	// Selectors say by which labels there are subsets. A call must ask for just the
	// keys of one of them to find its subset.
	Selectors []SubsetSelector

	// Fallback is where calls go that find no subset.
	Fallback SubsetFallback
	// Default are the labels that an endpoint of the default subset has, all of them.
	Default map[string]Value

	// LocalityWeights has the localities of a subset share its load by their weights,
	// where the cluster's localities are weighted; else the endpoints of all of its
	// localities stand in one list. ScaleLocalityWeights lowers the weight of a
	// locality by the part of its endpoints that is not in the subset.
	LocalityWeights, ScaleLocalityWeights bool

	// PanicAny sends calls for which Fallback finds no endpoint to any.
	PanicAny bool

	// ListAsAny puts an endpoint whose label is a list into the subset of each of the
	// list's elements, instead of that of the list.
	ListAsAny bool

	// FallbackList lets a call ask under the key "fallback_list" for a list of objects:
	// these, added to what else the call asks for, are tried in turn until one finds an
	// endpoint (metadata_fallback_policy FALLBACK_LIST).
	FallbackList bool

	// RedundantKeys lets a call ask for more keys than a selector has, which are then
	// left out. The selector with the most keys counts, of several the first.
	RedundantKeys bool
}

// SubsetSelector makes a subset for each combination of values of some labels.
type SubsetSelector struct {
	// Keys are the labels, in any order. If two selectors have the same keys the first
	// counts.
	Keys []string
	// SingleHost lets a subset have one endpoint: the first of the lowest priority,
	// which calls go to whatever its health.
	SingleHost bool
	// Fallback is where calls go that ask for the keys and find no subset.
	Fallback SubsetFallback
	// FallbackKeys are the keys, of Keys, that such calls then ask for under
	// FallbackToKeys.
	FallbackKeys []string
}

// SubsetFallback says where calls go that find no subset.
type SubsetFallback int

// The fallbacks. FallbackUnset is for selectors and means Subsets.Fallback; for that it
// means FallbackNone, with which calls fail with ErrNoEndpoints.
const (
	FallbackUnset SubsetFallback = iota
	FallbackNone
	FallbackAny
	FallbackDefault
	FallbackToKeys // for selectors only
)

// Criteria is what a call asks of the labels of its endpoint. It is made once and used
// by many calls. It is immutable; nil asks nothing.
type Criteria struct {
	labels map[string]Value
	key    string
}

// NewCriteria returns the criteria that ask for labels with these values; nil if there
// are none. The map must not be changed afterwards.
func NewCriteria(labels map[string]Value) *Criteria {
	if len(labels) == 0 {
		return nil
	}
	return &Criteria{labels, labelsKey(labels, slices.Sorted(maps.Keys(labels)))}
}

// String returns the criteria for people, sorted by key.
func (c *Criteria) String() string {
	if c == nil {
		return "{}"
	}
	var list []string
	for _, key := range slices.Sorted(maps.Keys(c.labels)) {
		list = append(list, key+": "+string(c.labels[key]))
	}
	return "{" + strings.Join(list, ", ") + "}"
}

// labelsKey is a text that is the same for the same values of the same keys, and for
// no others.
func labelsKey(labels map[string]Value, keys []string) string {
	var b strings.Builder
	for _, key := range keys {
		appendLabel(&b, key, labels[key])
	}
	return b.String()
}

func appendLabel(b *strings.Builder, key string, v Value) {
	for _, s := range [2]string{key, string(v)} {
		b.WriteString(strconv.Itoa(len(s)))
		b.WriteByte(':')
		b.WriteString(s)
	}
}

// has reports whether an endpoint with these labels has all of want.
func (s *Subsets) has(labels, want map[string]Value) bool {
	for key, v := range want {
		got, ok := labels[key]
		if !ok || !s.matches(got, v) {
			return false
		}
	}
	return true
}

func (s *Subsets) matches(got, want Value) bool {
	if s.ListAsAny {
		if list, ok := got.elements(); ok {
			return slices.Contains(list, want)
		}
	}
	return got == want
}
