package bootstrap

import (
	"fmt"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"

	"github.com/weft-mesh/weft/resolver/xds"
	"github.com/weft-mesh/weft/security"
)

// Config is a bootstrap that was read and found good. It must not be changed.
type Config struct {
	// Node introduces the process. Never nil; without user agent and client
	// features, which are the client's to fill in.
	Node *corev3.Node

	// Servers are the xds_servers in order of preference; at least one.
	Servers []xds.ServerConfig

	// Authorities are for the "xdstp:" names (gRFC A47).
	Authorities map[string]Authority

	// CertificateProviders are the instances that policy may name (gRFC A29). Those
	// of a plugin that is not known are an error only for who asks for them.
	CertificateProviders map[string]security.ProviderConfig

	// GRPCServices are allowed_grpc_services (gRFC A102), by target URI: the services
	// that policy may have filters ask though its server is not trusted, and how they
	// are reached. Nil means none.
	GRPCServices map[string]xds.ServerConfig

	// ClientListenerTemplate is client_default_listener_resource_name_template;
	// "%s" if the file has none.
	ClientListenerTemplate string

	// ServerListenerTemplate is server_listener_resource_name_template; may be empty.
	ServerListenerTemplate string

	// RouteConfigTemplate is weft.route_config_name_template; empty unless in
	// sidecar mode.
	RouteConfigTemplate string

	// LocalCluster is weft.local_cluster, the cluster that the process is itself an
	// endpoint of; may be empty.
	LocalCluster string
}

// Authority is one entry of authorities (gRFC A47).
type Authority struct {
	// ClientListenerTemplate is client_listener_resource_name_template, or what A47
	// has for a file without it.
	ClientListenerTemplate string
	// Servers are in order of preference; empty means [Config.Servers].
	Servers []xds.ServerConfig
}

// Client is what an [xds.Client] needs to know of the bootstrap. The types, the
// transport and the logger are left for the caller to add.
func (c *Config) Client() xds.Config {
	authorities := make(map[string]xds.Authority, len(c.Authorities))
	for name, a := range c.Authorities {
		authorities[name] = xds.Authority{Servers: a.Servers}
	}
	return xds.Config{Node: c.Node, Servers: c.Servers, Authorities: authorities}
}

// ClientListener returns the name of the Listener that a client's target stands
// for. The authority is that of an "xds://authority/name" target; empty where
// there was none. It fails if the name's authority is not in the bootstrap.
func (c *Config) ClientListener(authority, name string) (string, error) {
	template := c.ClientListenerTemplate
	if authority != "" {
		a, ok := c.Authorities[authority]
		if !ok {
			return "", fmt.Errorf("bootstrap: authority %q is not among authorities", authority)
		}
		template = a.ClientListenerTemplate
	}
	return c.listener(template, name)
}

// ServerListener returns the name of the Listener of a server that listens on
// address, "host:port". It fails if the bootstrap has no template for it.
func (c *Config) ServerListener(address string) (string, error) {
	if c.ServerListenerTemplate == "" {
		return "", fmt.Errorf("bootstrap: server_listener_resource_name_template is missing: no Listener for %s", address)
	}
	return c.listener(c.ServerListenerTemplate, address)
}

func (c *Config) listener(template, name string) (string, error) {
	if !strings.HasPrefix(template, "xdstp:") {
		return strings.ReplaceAll(template, "%s", name), nil
	}
	listener := strings.ReplaceAll(template, "%s", escapePath(name))
	if authority := authorityOf(listener); !c.has(authority) {
		return "", fmt.Errorf("bootstrap: the authority of %q is not among authorities", listener)
	}
	return listener, nil
}

func (c *Config) has(authority string) bool {
	_, ok := c.Authorities[authority]
	return ok
}

// RouteConfig returns the name of the RouteConfiguration in which a sidecar finds
// the virtual host of host:port; ok is false when not in sidecar mode.
func (c *Config) RouteConfig(host, port string) (name string, ok bool) {
	if c.RouteConfigTemplate == "" {
		return "", false
	}
	return strings.NewReplacer("%h", host, "%p", port).Replace(c.RouteConfigTemplate), true
}
