package mesh

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"

	"github.com/weft-mesh/weft/resolver"
)

// targetName is what a caller named, and the resource that it means.
type targetName struct {
	// endpoint is the name without its scheme, "orders:8080": the authority of its
	// calls.
	endpoint string
	resource resolver.TargetName
}

// names maps what callers name to resources, as the bootstrap says.
type names struct {
	// listener names the listener of a target (gRFC A27, A47); authority is that of
	// an xds://authority/name target, else empty.
	listener func(authority, target string) (string, error)
	// routeConfig names the route configuration in which a sidecar would look for
	// host and port. Nil means that targets are listeners.
	routeConfig func(host, port string) string
	// serverListener names the listener of a server; nil for inboundPrefix before what
	// the program calls it.
	serverListener func(name string) (string, error)
}

// inboundPrefix begins the names of servers' listeners where no bootstrap has a template
// for them.
const inboundPrefix = "inbound/"

// ofServer names the listener of a server.
func (n names) ofServer(name string) (targetName, error) {
	if name == "" {
		return targetName{}, errors.New("a server's listener needs a name")
	}
	listener := inboundPrefix + name
	if n.serverListener != nil {
		var err error
		if listener, err = n.serverListener(name); err != nil {
			return targetName{}, err
		}
	}
	return targetName{endpoint: name, resource: resolver.TargetName{Listener: listener, Server: true}}, nil
}

// unknownHosts is the listener of the hosts of HTTP requests that have none of their
// own. No service can have the name.
const unknownHosts = "weft/unknown-hosts"

// parse reads the target of a channel.
func (n names) parse(target string) (targetName, error) {
	endpoint, authority := target, ""
	if strings.Contains(target, "://") {
		u, err := url.Parse(target)
		if err != nil {
			return targetName{}, fmt.Errorf("weft: bad target: %w", err)
		}
		if u.Scheme != "xds" {
			return targetName{}, fmt.Errorf("weft: target %q has scheme %q; a mesh target is a bare name or xds:///name", target, u.Scheme)
		}
		endpoint, authority = strings.TrimPrefix(u.Path, "/"), u.Host
	}
	if endpoint == "" {
		return targetName{}, fmt.Errorf("weft: target %q names nothing", target)
	}
	name := targetName{endpoint: endpoint}
	var err error
	if n.routeConfig != nil && authority == "" {
		name.resource, err = n.inSidecar(endpoint, "")
	} else {
		name.resource.Listener, err = n.listener(authority, endpoint)
	}
	// A channel has one authority for all of its calls, and so one virtual host.
	name.resource.Authority = endpoint
	if err != nil {
		return targetName{}, fmt.Errorf("weft: target %q: %w", target, err)
	}
	return name, nil
}

// ofRequest names the target of an HTTP request to host with the Host header
// authority.
func (n names) ofRequest(scheme, host, authority string) (targetName, error) {
	var err error
	name := targetName{endpoint: host}
	switch {
	case scheme != "http" && scheme != "https":
		return targetName{}, fmt.Errorf("weft: unsupported protocol scheme %q", scheme)
	case host == "":
		return targetName{}, errors.New("weft: no host in the request's URL")
	case n.routeConfig != nil:
		port := "80"
		if scheme == "https" {
			port = "443"
		}
		name.resource, err = n.inSidecar(host, port)
		// A route configuration holds the virtual hosts of a whole port; the target is
		// only the one asked for.
		name.resource.Authority = authority
	default:
		name.resource.Listener, err = n.listener("", host)
		name.resource.Otherwise = unknownHosts
	}
	if err != nil {
		return targetName{}, fmt.Errorf("weft: host %q: %w", host, err)
	}
	return name, nil
}

func (n names) inSidecar(hostport, defaultPort string) (resolver.TargetName, error) {
	host, port, err := net.SplitHostPort(hostport)
	if err != nil {
		if defaultPort == "" {
			return resolver.TargetName{}, errors.New("needs a port: this mesh looks up route configurations by port")
		}
		host, port = strings.Trim(hostport, "[]"), defaultPort
	}
	return resolver.TargetName{RouteConfig: n.routeConfig(host, port)}, nil
}
