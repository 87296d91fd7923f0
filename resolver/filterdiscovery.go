package resolver

import (
	"fmt"
	"slices"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	"google.golang.org/protobuf/proto"

	"github.com/weft-mesh/weft/filter"
)

// filterDiscovery is a filter whose configuration is a resource of its own, by the
// filter's name (envoy.config.core.v3.ExtensionConfigSource, gRFC A104).
type filterDiscovery struct {
	// fallback is the default_config, which is used while there is no resource, or
	// only an error; nil for none. atOnce does not wait for the resource to begin with.
	fallback *filter.Parsed
	atOnce   bool

	typeURLs []string // that the resource may be of; empty for all
	optional bool     // the filter is left out rather than that calls fail
}

// extension is a compiled TypedExtensionConfig. It is immutable.
type extension struct {
	typeURL string
	config  *filter.Parsed // nil for one that is known and not acted on
}

func decodeExtension(c TypesConfig, raw []byte) (string, any, error) {
	var m corev3.TypedExtensionConfig
	if err := proto.Unmarshal(raw, &m); err != nil {
		return "", nil, err
	}
	p := (&decoder{config: c, kind: "TypedExtensionConfig", name: m.GetName()}).root().to("typed_config")
	v := &extension{typeURL: configType(m.GetTypedConfig())}
	switch {
	case c.Filters.Knows(v.typeURL):
		var err error
		if v.config, err = c.Filters.Parse(m.GetTypedConfig(), filter.Place{Warn: p.warnField}); err != nil {
			return m.GetName(), nil, p.errorf("%w", err)
		}
	case harmlessFilters[v.typeURL]:
		p.warn()
	default:
		return m.GetName(), nil, p.errorf("filter of type %s: %w", v.typeURL, ErrUnsupported)
	}
	return m.GetName(), v, nil
}

// filterDiscovery reads a filter's config_discovery. Whatever its config_source says, the
// resource is asked for where the listener came from (gRFC A104).
func (p *path) filterDiscovery(f *hcmv3.HttpFilter) (*filterDiscovery, error) {
	m := f.GetConfigDiscovery()
	d := &filterDiscovery{
		atOnce:   m.GetApplyDefaultConfigWithoutWarming() && m.GetDefaultConfig() != nil,
		optional: f.GetIsOptional(),
	}
	for _, url := range m.GetTypeUrls() {
		d.typeURLs = append(d.typeURLs, filter.TypeName(url))
	}
	if m.GetDefaultConfig() == nil {
		return d, nil
	}
	q := p.to("default_config")
	var err error
	if d.fallback, err = p.decoder.config.Filters.Parse(m.GetDefaultConfig(), filter.Place{Warn: q.warnField}); err != nil {
		return nil, q.errorf("%w", err)
	}
	return d, nil
}

// discovered is the filter f with its configuration; awaited says what has to come
// before that can be told.
func (t *Target) discovered(f httpFilter) (with httpFilter, awaited string) {
	d, r := f.discovery, t.resolver
	res := t.extensions[f.Name]
	if res == nil {
		res = use(r, r.extensions, ExtensionURL, "filter configuration", f.Name, t)
		if t.extensions == nil {
			t.extensions = make(map[string]*resource[*extension])
		}
		t.extensions[f.Name] = res
	}
	switch {
	case !res.known && !d.atOnce:
		return f, res.awaited()
	case res.known && res.err == nil && d.allows(res.value.typeURL):
		f.TypeURL, f.config = res.value.typeURL, res.value.config
	case d.fallback != nil:
		f.TypeURL, f.config = d.fallback.TypeURL(), d.fallback
	case res.err != nil:
		f.missing = missingReason(res.err.Error(), d)
	default:
		f.missing = missingReason(fmt.Sprintf("it is of type %s, which the listener does not allow", res.value.typeURL), d)
	}
	return f, ""
}

// missingReason is empty for a filter that can be left out.
func missingReason(why string, d *filterDiscovery) string {
	if d.optional {
		return ""
	}
	return "no configuration: " + why
}

func (d *filterDiscovery) allows(typeURL string) bool {
	return len(d.typeURLs) == 0 || slices.Contains(d.typeURLs, filter.TypeName(typeURL))
}

// discover returns a listener's filters with the configurations that are resources of
// their own, and lets go of those that none of the filters has any more.
func (t *Target) discover(filters []httpFilter) (with []httpFilter, awaited string) {
	with = slices.Clone(filters)
	used := make(map[string]bool)
	for i, f := range filters {
		if f.discovery == nil {
			continue
		}
		used[f.Name] = true
		var waits string
		if with[i], waits = t.discovered(f); waits != "" {
			awaited = waits
		}
	}
	for name, res := range t.extensions {
		if !used[name] {
			unuse(t.resolver.extensions, res, t)
			delete(t.extensions, name)
		}
	}
	return with, awaited
}
