package policy

import (
	"maps"

	"google.golang.org/protobuf/types/known/anypb"
)

func (v *validator) filters(p path, host string, list []*Filter) {
	if _, ok := inbound(host); ok {
		v.inboundName(p, host)
	} else if v.policy.Services[host] == nil && v.policy.Routes[host] == nil {
		v.nameErrorf(p, "%q is neither a service nor has routes", host).Suggestion =
			nearest(host, concat(maps.Keys(v.policy.Services), maps.Keys(v.policy.Routes)))
	}
	first := make(map[string]bool)
	for i, f := range list {
		at := p.index(i)
		switch {
		case f.Name == "":
			v.missingf(at, "the filter has no name")
		case f.Name == routerName:
			v.errorf(at.field("name"), "the router is there already, as the last filter")
		case first[f.Name]:
			v.errorf(at.field("name"), "%q is the name of another filter of the list", f.Name)
		}
		first[f.Name] = true
		var given []string
		if f.Config != nil {
			given = append(given, "config")
			v.filterConfig(at.field("config"), f.Config)
		}
		v.exactlyOne(at, append(given, v.shortFilter(at, host, f)...), "config, adaptiveConcurrency, admissionControl and loadShed")
	}
}

func (v *validator) filterOverrides(p path, host string, overrides map[string]*FilterOverride) {
	names := make(map[string]bool)
	for _, f := range v.policy.Filters[host] {
		names[f.Name] = true
	}
	for _, name := range sortedKeys(overrides) {
		at, o := p.field(name), overrides[name]
		if !names[name] {
			v.nameErrorf(at, "%q is not a filter of %q", name, host).Suggestion = nearest(name, maps.Keys(names))
		}
		var given []string
		if o.Config != nil {
			given = append(given, "config")
			v.filterConfig(at.field("config"), o.Config)
		}
		if o.Share != nil {
			given = append(given, "share")
			v.shareOverride(at.field("share"), host, name, o.Share)
		}
		if o.Disabled {
			given = append(given, "disabled")
		}
		v.exactlyOne(at, given, "config, share and disabled")
	}
}

// filterConfig checks a configuration by Envoy's own rules for its fields.
func (v *validator) filterConfig(p path, config *anypb.Any) {
	m, err := config.UnmarshalNew()
	if err != nil { // the type is a program's own
		return
	}
	for _, problem := range problems(m) {
		v.errorf(p, "%s", problem)
	}
}
