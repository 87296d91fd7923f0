package resolver

import (
	"context"
	"strings"

	xdscorev3 "github.com/cncf/xds/go/xds/core/v3"
	xdsmatcherv3 "github.com/cncf/xds/go/xds/type/matcher/v3"
	matchingv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/common/matching/v3"
	actionv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/common/matcher/action/v3"
	compositev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/composite/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/weft-mesh/weft/filter"
)

// compositeKind is the filter that has each request pass the filters that a match tree
// finds for it (gRFC A103): an ExtensionWithMatcher around a Composite, or a Composite
// with a matcher of its own. An override replaces the tree.
//
// A request for which the tree finds nothing fails under gRPC with UNAVAILABLE, as the
// gRFC has it; under HTTP it goes on, as in Envoy.
type compositeKind struct{}

const matchingTypes = "type.googleapis.com/envoy.extensions.common.matching.v3."

func (compositeKind) Types() []string {
	return []string{
		matchingTypes + "ExtensionWithMatcher", matchingTypes + "ExtensionWithMatcherPerRoute",
		filterTypes + "composite.v3.Composite", filterTypes + "composite.v3.CompositePerRoute",
	}
}

// composite is a configuration or an override.
type composite struct {
	tree  *matchTree[*compositeAction]
	named map[string]filter.Chain // named_filter_chains; nil in overrides
	bodies
}

// compositeAction is what the tree finds.
type compositeAction struct {
	chain filter.Chain // empty for SkipFilter
	name  string       // of a named chain; empty for none
	part  *fraction    // of the requests; nil for all
}

func (compositeKind) Parse(c *filter.Config) (any, error) {
	p := filterDecoder(c)
	var m *xdsmatcherv3.Matcher
	var named map[string]*compositev3.FilterChainConfiguration
	field := "matcher"
	switch c.TypeURL[strings.LastIndexByte(c.TypeURL, '.')+1:] {
	case "ExtensionWithMatcher":
		var with matchingv3.ExtensionWithMatcher
		var inner compositev3.Composite
		if err := c.Decode(&with); err != nil {
			return nil, err
		}
		q := p.to("extension_config").to("typed_config")
		if a := with.GetExtensionConfig().GetTypedConfig(); !a.MessageIs(&inner) {
			return nil, q.errorf("of type %q: %w: must be a composite filter", a.GetTypeUrl(), ErrUnsupported)
		} else if err := a.UnmarshalTo(&inner); err != nil {
			return nil, q.errorf("%w", err)
		}
		p.warnUnread(&with, fieldNames("xds_matcher", "extension_config"))
		field, m, named = "xds_matcher", with.GetXdsMatcher(), inner.GetNamedFilterChains()
	case "ExtensionWithMatcherPerRoute":
		var with matchingv3.ExtensionWithMatcherPerRoute
		if err := c.Decode(&with); err != nil {
			return nil, err
		}
		field, m = "xds_matcher", with.GetXdsMatcher()
	case "Composite":
		var whole compositev3.Composite
		if err := c.Decode(&whole); err != nil {
			return nil, err
		}
		m, named = whole.GetMatcher(), whole.GetNamedFilterChains()
	default:
		var override compositev3.CompositePerRoute
		if err := c.Decode(&override); err != nil {
			return nil, err
		}
		m = override.GetMatcher()
	}
	v := &composite{named: make(map[string]filter.Chain)}
	compiler := compositeCompiler{c}
	for name, list := range named {
		chain, err := compiler.chain(p.to("named_filter_chains["+name+"]"), list)
		if err != nil {
			return nil, err
		}
		v.named[name] = chain
	}
	trees := matchTreeCompiler[*compositeAction]{config: c, action: compiler.action}
	var err error
	v.tree, err = trees.tree(p.to(field), m, 1)
	return v, err
}

func (compositeKind) New(config any, overrides []any) (filter.Filter, error) {
	f := *config.(*composite)
	if n := len(overrides); n > 0 {
		f.tree = overrides[n-1].(*composite).tree
	}
	return f.withBodies(), nil
}

// ofRoute has the filters within be those of the route.
func (f *composite) ofRoute(r *limitedRoute) filter.Filter {
	own := &composite{named: make(map[string]filter.Chain, len(f.named))}
	for name, chain := range f.named {
		own.named[name] = ofRoute(chain, r)
	}
	own.tree = f.tree.mapped(func(a *compositeAction) *compositeAction {
		action := *a
		action.chain = ofRoute(a.chain, r)
		return &action
	})
	return own.withBodies()
}

func (f *composite) Request(ctx context.Context, r *filter.Request) (filter.Follower, error) {
	action, ok := f.tree.find(&matchRequest{request: requestOf(r), call: r})
	switch {
	case !ok && r.GRPC:
		return nil, &filter.Reply{Status: 503, Code: codes.Unavailable,
			Body: "no match for the call in the composite filter of its route"}
	case !ok || action.part != nil && !action.part.take():
		return nil, nil
	case action.name != "":
		return f.named[action.name].Request(ctx, r)
	default:
		return action.chain.Request(ctx, r)
	}
}

// compositeCompiler compiles actions.
type compositeCompiler struct{ config *filter.Config }

func (c compositeCompiler) action(p *path, a *xdscorev3.TypedExtensionConfig) (*compositeAction, error) {
	var execute compositev3.ExecuteFilterAction
	switch config := a.GetTypedConfig(); {
	case config.MessageIs((*actionv3.SkipFilter)(nil)):
		return &compositeAction{}, nil
	case !config.MessageIs(&execute):
		return nil, p.errorf("action of type %q: %w", config.GetTypeUrl(), ErrUnsupported)
	default:
		if err := config.UnmarshalTo(&execute); err != nil {
			return nil, p.errorf("%w", err)
		}
	}
	action := &compositeAction{name: execute.GetFilterChainName()}
	var err error
	switch {
	case execute.GetDynamicConfig() != nil:
		return nil, p.to("dynamic_config").errorf("%w", ErrUnsupported)
	case execute.GetFilterChain() != nil:
		action.chain, err = c.chain(p.to("filter_chain"), execute.GetFilterChain())
		action.name = ""
	case execute.GetTypedConfig() != nil:
		action.chain, err = c.filter(p.to("typed_config"), nil, execute.GetTypedConfig().GetTypedConfig(), execute.GetTypedConfig().GetName())
	case action.name == "":
		return nil, p.errorf("must have typed_config, filter_chain or filter_chain_name")
	}
	if err != nil || execute.GetSamplePercent() == nil {
		return action, err
	}
	q := p.to("sample_percent").to("default_value")
	if execute.GetSamplePercent().GetDefaultValue() == nil {
		return nil, q.errorf("must be set")
	}
	action.part, err = q.fraction(execute.GetSamplePercent().GetDefaultValue())
	return action, err
}

func (c compositeCompiler) chain(p *path, list *compositev3.FilterChainConfiguration) (chain filter.Chain, err error) {
	if len(list.GetTypedConfig()) == 0 {
		return nil, p.to("typed_config").errorf("must not be empty")
	}
	for i, one := range list.GetTypedConfig() {
		if chain, err = c.filter(p.at("typed_config", i), chain, one.GetTypedConfig(), one.GetName()); err != nil {
			return nil, err
		}
	}
	return chain, nil
}

// filter adds the filter that a configuration asks for, if any, to a chain.
func (c compositeCompiler) filter(p *path, chain filter.Chain, config *anypb.Any, name string) (filter.Chain, error) {
	p = p.to("typed_config")
	if name == "" {
		return nil, p.errorf("the filter has no name")
	}
	parsed, err := c.config.Nested(config)
	if err != nil {
		return nil, p.errorf("%w", err)
	}
	f, err := parsed.New(nil)
	switch {
	case err != nil:
		return nil, p.errorf("%w", err)
	case f == nil:
		return chain, nil
	}
	return append(chain, f), nil
}
