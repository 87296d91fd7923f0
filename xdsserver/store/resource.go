package store

import (
	"errors"
	"fmt"
	"unicode/utf8"

	"github.com/cespare/xxhash/v2"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
)

// Entry is a resource to be served, as the one who made it hands it over.
type Entry struct {
	// TypeURL is the type that clients subscribe to.
	TypeURL string
	// Name is unique within the type.
	Name string
	// Version identifies the content: two entries of one type and name that have
	// the same version are taken to have the same Body. Empty means that the store
	// shall derive it from Body.
	Version string
	// Body must not change after it was handed over.
	Body *anypb.Any
}

// Resource is one resource as it goes over the wire. It is immutable and shared
// by all streams.
type Resource struct {
	name    string
	version string
	digest  uint64

	delta, sotw mem.Buffer
}

// Field numbers of the messages that a Resource is spliced into. resources has the
// same number in DiscoveryResponse and DeltaDiscoveryResponse, and so has
// Resource.resource, which lets one buffer serve both protocols.
const (
	fieldResources protowire.Number = 2 // DiscoveryResponse, DeltaDiscoveryResponse

	fieldResourceVersion protowire.Number = 1 // envoy.service.discovery.v3.Resource
	fieldResourceBody    protowire.Number = 2
	fieldResourceName    protowire.Number = 3
)

// hashedVersionSize is the length of a version that is a hash.
const hashedVersionSize = 16

func encode(e Entry) (*Resource, error) {
	switch {
	case e.TypeURL == "":
		return nil, errors.New("resource without a type URL")
	case e.Name == "" || e.Name == "*":
		return nil, fmt.Errorf("%s: a resource cannot be named %q", e.TypeURL, e.Name)
	case !utf8.ValidString(e.Name) || !utf8.ValidString(e.Version):
		return nil, fmt.Errorf("%s %q: name and version have to be valid UTF-8", e.TypeURL, e.Name)
	case e.Body == nil:
		return nil, fmt.Errorf("%s %q: no body", e.TypeURL, e.Name)
	}
	size := proto.Size(e.Body)
	versionSize := len(e.Version)
	if versionSize == 0 {
		versionSize = hashedVersionSize
	}
	inner := protowire.SizeTag(fieldResourceBody) + protowire.SizeBytes(size) +
		protowire.SizeTag(fieldResourceVersion) + protowire.SizeBytes(versionSize) +
		protowire.SizeTag(fieldResourceName) + protowire.SizeBytes(len(e.Name))
	b := make([]byte, 0, protowire.SizeTag(fieldResources)+protowire.SizeBytes(inner))
	b = protowire.AppendTag(b, fieldResources, protowire.BytesType)
	b = protowire.AppendVarint(b, uint64(inner))

	// Read on its own, Resource{resource: body} without its outer tag is exactly
	// DiscoveryResponse{resources: [body]}.
	start := len(b)
	b = protowire.AppendTag(b, fieldResourceBody, protowire.BytesType)
	b = protowire.AppendVarint(b, uint64(size))
	body := len(b)
	b, err := proto.MarshalOptions{Deterministic: true}.MarshalAppend(b, e.Body) // in place: it may be large
	if err == nil && len(b)-body != size {
		err = errors.New("the body changed while it was encoded")
	}
	if err != nil {
		return nil, fmt.Errorf("%s %q: %w", e.TypeURL, e.Name, err)
	}
	if e.Version == "" {
		e.Version = fmt.Sprintf("%0*x", hashedVersionSize, xxhash.Sum64(b[body:]))
	}
	sotw := b[start:len(b):len(b)]

	b = protowire.AppendTag(b, fieldResourceVersion, protowire.BytesType)
	b = protowire.AppendString(b, e.Version)
	b = protowire.AppendTag(b, fieldResourceName, protowire.BytesType)
	b = protowire.AppendString(b, e.Name)

	return &Resource{
		name:    e.Name,
		version: e.Version,
		digest:  xxhash.Sum64String(e.Name + "\x00" + e.Version),
		delta:   mem.SliceBuffer(b),
		sotw:    mem.SliceBuffer(sotw),
	}, nil
}

// Name is the name that clients subscribe to.
func (r *Resource) Name() string { return r.name }

// Version identifies the content. A nil Resource has the version "".
func (r *Resource) Version() string {
	if r == nil {
		return ""
	}
	return r.version
}

// Delta is the resource as an entry of DeltaDiscoveryResponse.resources, tag and
// length included, ready to be appended to a response. The bytes are shared and
// never freed: Ref and Free of the buffer do nothing.
func (r *Resource) Delta() mem.Buffer { return r.delta }

// SotW is the resource as an entry of DiscoveryResponse.resources, tag and length
// included. It shares the memory of Delta.
func (r *Resource) SotW() mem.Buffer { return r.sotw }

// Size is the number of bytes of Delta, or of SotW.
func (r *Resource) Size(delta bool) int {
	if delta {
		return r.delta.Len()
	}
	return r.sotw.Len()
}
