package policy

import (
	"cmp"
	"encoding/binary"
	"encoding/hex"
	"iter"
	"maps"
	"slices"

	"github.com/cespare/xxhash/v2"
	"google.golang.org/protobuf/types/known/anypb"
)

// The type URLs of the resources that a policy holds.
const (
	ListenerType = "type.googleapis.com/envoy.config.listener.v3.Listener"
	RouteType    = "type.googleapis.com/envoy.config.route.v3.RouteConfiguration"
	ClusterType  = "type.googleapis.com/envoy.config.cluster.v3.Cluster"
	EndpointType = "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment"
	SecretType   = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret"
	// ExtensionType is that of filters whose configuration stands beside their listener.
	ExtensionType = "type.googleapis.com/envoy.config.core.v3.TypedExtensionConfig"
)

// Resource is one xDS resource, encoded. It is shared by all who serve it: nobody
// changes it.
type Resource struct {
	TypeURL string
	Name    string
	// Version is a hash of the encoded bytes in hex: the same content has the same
	// version in every process.
	Version string
	// Body is the resource; Body.TypeUrl is TypeURL.
	Body *anypb.Any
}

// NewResource wraps an encoded resource and computes its version.
func NewResource(typeURL, name string, encoded []byte) *Resource {
	return &Resource{
		TypeURL: typeURL,
		Name:    name,
		Version: version(xxhash.Sum64(encoded)),
		Body:    &anypb.Any{TypeUrl: typeURL, Value: encoded},
	}
}

// Resources is an immutable set of resources: what a policy compiled to. It is
// safe for concurrent use; a nil *Resources is an empty set.
type Resources struct {
	byType  map[string]*typeSet
	version string
}

type typeSet struct {
	list   []*Resource // by name
	byName map[string]*Resource
}

// NewResources returns the set of list's resources. Of two with the same type and
// name the later one stays.
func NewResources(list ...*Resource) *Resources {
	r := &Resources{byType: make(map[string]*typeSet)}
	for _, res := range list {
		set := r.byType[res.TypeURL]
		if set == nil {
			set = &typeSet{byName: make(map[string]*Resource)}
			r.byType[res.TypeURL] = set
		}
		set.byName[res.Name] = res
	}
	hash := xxhash.New()
	for _, typeURL := range slices.Sorted(maps.Keys(r.byType)) {
		set := r.byType[typeURL]
		set.list = slices.SortedFunc(maps.Values(set.byName), func(a, b *Resource) int {
			return cmp.Compare(a.Name, b.Name)
		})
		for _, res := range set.list {
			for _, s := range []string{typeURL, res.Name, res.Version} {
				_, _ = hash.WriteString(s)
				_, _ = hash.Write([]byte{0})
			}
		}
	}
	r.version = version(hash.Sum64())
	return r
}

// Version is a hash of all the resources: equal sets have equal versions.
func (r *Resources) Version() string {
	if r == nil {
		return NewResources().version
	}
	return r.version
}

// Get returns the resource of a type and name, or nil.
func (r *Resources) Get(typeURL, name string) *Resource {
	if r == nil || r.byType[typeURL] == nil {
		return nil
	}
	return r.byType[typeURL].byName[name]
}

// Types returns the type URLs that the set has resources of, sorted.
func (r *Resources) Types() []string {
	if r == nil {
		return nil
	}
	return slices.Sorted(maps.Keys(r.byType))
}

// Len is the number of resources of a type.
func (r *Resources) Len(typeURL string) int {
	if r == nil || r.byType[typeURL] == nil {
		return 0
	}
	return len(r.byType[typeURL].list)
}

// Of returns the resources of a type by name.
func (r *Resources) Of(typeURL string) iter.Seq[*Resource] {
	return func(yield func(*Resource) bool) {
		if r == nil || r.byType[typeURL] == nil {
			return
		}
		for _, res := range r.byType[typeURL].list {
			if !yield(res) {
				return
			}
		}
	}
}

// All returns all resources, by type URL and name.
func (r *Resources) All() iter.Seq[*Resource] {
	return func(yield func(*Resource) bool) {
		for _, typeURL := range r.Types() {
			for res := range r.Of(typeURL) {
				if !yield(res) {
					return
				}
			}
		}
	}
}

// Diff returns what turns the set old into r, by type URL and name: the resources
// of r that are new or have another version, and those of old that r lacks.
func (r *Resources) Diff(old *Resources) (changed, removed []*Resource) {
	for res := range r.All() {
		if was := old.Get(res.TypeURL, res.Name); was == nil || was.Version != res.Version {
			changed = append(changed, res)
		}
	}
	for was := range old.All() {
		if r.Get(was.TypeURL, was.Name) == nil {
			removed = append(removed, was)
		}
	}
	return changed, removed
}

// version is a hash as people see it.
func version(sum uint64) string {
	return hex.EncodeToString(binary.BigEndian.AppendUint64(nil, sum))
}
