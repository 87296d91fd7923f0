package policy

import (
	"fmt"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
)

// Compile validates the policy and translates it to resources. The same policy
// always gives the same bytes. The error is an [Errors].
func (p *Policy) Compile() (*Resources, error) {
	v := &validator{policy: p}
	if err := v.validate().sorted(); err != nil {
		return nil, err
	}
	c := &compiler{scope: v.scope}
	for _, host := range v.scope.hosts() {
		c.add(c.listener(host))
		c.add(c.routeConfiguration(host))
	}
	for _, name := range v.scope.servers() {
		c.add(c.inboundListener(name))
	}
	for _, name := range sortedKeys(p.Services) {
		service := p.Services[name]
		for _, subset := range append([]string{""}, sortedKeys(service.Subsets)...) {
			c.add(c.cluster(name, subset, service))
			if service.hasAssignment() {
				c.add(c.assignment(name, subset, service))
			}
		}
	}
	c.unknownHosts()
	c.passthrough()
	for _, m := range p.Resources {
		c.add(m)
	}
	if err := c.errs.sorted(); err != nil {
		return nil, err
	}
	return NewResources(c.list...), nil
}

// compiler collects the resources of a policy that is valid.
type compiler struct {
	scope *scope
	list  []*Resource
	errs  Errors
}

// deterministic makes equal messages equal bytes. Without it the entries of a map come
// in any order, and every restart would look like a change.
var deterministic = proto.MarshalOptions{Deterministic: true}

func (c *compiler) add(m proto.Message) {
	typeURL, name, _ := resourceName(m)
	encoded, err := deterministic.Marshal(m)
	if err != nil { // text that is not UTF-8, in a policy that a program built
		c.errs = append(c.errs, &Error{Message: fmt.Sprintf("%s %q: %v", shortType(typeURL), name, err)})
		return
	}
	c.list = append(c.list, NewResource(typeURL, name, encoded))
}

// pack wraps a message of an extension. It is one of ours, so that it has an encoding.
func pack(m proto.Message) *anypb.Any {
	encoded, err := deterministic.Marshal(m)
	if err != nil {
		panic("policy: " + err.Error())
	}
	return &anypb.Any{TypeUrl: "type.googleapis.com/" + string(m.ProtoReflect().Descriptor().FullName()), Value: encoded}
}

// ads says that a resource is to be asked for on the stream that this one came on.
func ads() *corev3.ConfigSource {
	return &corev3.ConfigSource{
		ResourceApiVersion:    corev3.ApiVersion_V3,
		ConfigSourceSpecifier: &corev3.ConfigSource_Ads{Ads: &corev3.AggregatedConfigSource{}},
	}
}

// listener is what a client asks for first, by the name that it dials. It is an
// ApiListener, which has no address: clients inside a process take it, while an
// Envoy brings a listener of its own and takes the routes behind this one.
func (c *compiler) listener(host string) *listenerv3.Listener {
	return &listenerv3.Listener{
		Name: host,
		ApiListener: &listenerv3.ApiListener{ApiListener: pack(&hcmv3.HttpConnectionManager{
			StatPrefix: host,
			RouteSpecifier: &hcmv3.HttpConnectionManager_Rds{Rds: &hcmv3.Rds{
				ConfigSource:    ads(),
				RouteConfigName: host,
			}},
			HttpFilters: httpFilters(c.filters(host), true),
		})},
	}
}

// routeConfiguration is the routes of a name. Its one virtual host takes every
// authority: the name that was dialled has chosen it already.
func (c *compiler) routeConfiguration(host string) *routev3.RouteConfiguration {
	routes := c.scope.policy.Routes[host]
	if routes == nil {
		routes = []*Route{{To: Destinations{host: 1}}}
	}
	return c.routesOf(host, routes)
}

func (c *compiler) routesOf(host string, routes []*Route) *routev3.RouteConfiguration {
	vh := &routev3.VirtualHost{Name: host, Domains: []string{"*"}}
	for _, r := range routes {
		vh.Routes = append(vh.Routes, c.route(host, r))
	}
	return &routev3.RouteConfiguration{Name: host, VirtualHosts: []*routev3.VirtualHost{vh}}
}
