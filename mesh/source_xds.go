package mesh

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/weft-mesh/weft/resolver"
	"github.com/weft-mesh/weft/resolver/grpcservice"
	"github.com/weft-mesh/weft/resolver/xds"
	"github.com/weft-mesh/weft/resolver/xds/bootstrap"
	"github.com/weft-mesh/weft/resolver/xds/grpctransport"
	"github.com/weft-mesh/weft/security"
)

// WithBootstrap takes policy from the control plane that a bootstrap names: gRPC's
// JSON (gRFC A27) with Weft's additions, see package resolver/xds/bootstrap.
func WithBootstrap(json []byte) Option {
	return from("WithBootstrap", func(o *options) (*source, error) {
		config, err := bootstrap.Parse(json)
		if err != nil {
			return nil, err
		}
		return openXDS(o, config)
	})
}

// WithBootstrapFile takes policy from the control plane that the bootstrap in a file
// names.
func WithBootstrapFile(path string) Option {
	return from("WithBootstrapFile", func(o *options) (*source, error) {
		config, err := bootstrap.FromFile(path)
		if err != nil {
			return nil, err
		}
		return openXDS(o, config)
	})
}

// openEnvironment is the source of a mesh whose options name none.
func openEnvironment(o *options) (*source, error) {
	config, err := bootstrap.FromEnv()
	if errors.Is(err, bootstrap.ErrNotSet) {
		return nil, fmt.Errorf("no source of policy: set %s or %s, or use WithServer, WithPolicyFile, WithBootstrap", bootstrap.EnvFile, bootstrap.EnvInline)
	}
	if err != nil {
		return nil, err
	}
	return openXDS(o, config)
}

// WithServer takes policy from the control plane at addr ("host:port"), by TLS and
// trusting the system's authorities unless an option says otherwise. It is the
// common case of a bootstrap, with the node id HOSTNAME~PID.
func WithServer(addr string, opts ...ServerOption) Option {
	return from("WithServer", func(o *options) (*source, error) {
		creds := ServerOption{channel: xds.CredsTLS}
		for _, opt := range opts {
			creds = opt
		}
		host, err := os.Hostname()
		if err != nil {
			host = "unknown"
		}
		type object map[string]any
		data, err := json.Marshal(object{
			"xds_servers": []object{{
				"server_uri":    addr,
				"channel_creds": []object{{"type": creds.channel, "config": creds.files}},
			}},
			"node": object{"id": fmt.Sprintf("%s~%d", host, os.Getpid())},
		})
		if err != nil {
			return nil, err
		}
		config, err := bootstrap.Parse(data)
		if err != nil {
			return nil, err
		}
		return openXDS(o, config)
	})
}

// ServerOption says how a connection of [WithServer] is secured.
type ServerOption struct {
	channel string
	files   map[string]string
}

// Plaintext does not secure the connection: whoever can reach the wire can say where
// calls go.
func Plaintext() ServerOption { return ServerOption{channel: xds.CredsInsecure} }

// TLSFiles secures the connection by TLS. ca is a PEM file with the authorities to
// trust; certificate and key, both or neither, are PEM files with the identity to
// present (gRFC A65). They are read again every ten minutes, and sooner for a while after
// they changed or could not be used; connections that are open stay.
func TLSFiles(ca, certificate, key string) ServerOption {
	files := map[string]string{}
	for field, path := range map[string]string{
		"ca_certificate_file": ca, "certificate_file": certificate, "private_key_file": key,
	} {
		if path != "" {
			files[field] = path
		}
	}
	return ServerOption{channel: xds.CredsTLS, files: files}
}

// openXDS makes the source that a bootstrap describes. Nothing connects yet.
func openXDS(o *options, config *bootstrap.Config) (*source, error) {
	if err := localize(o, config); err != nil {
		return nil, err
	}
	providers, err := security.NewProviders(config.CertificateProviders, o.logger)
	if err != nil {
		return nil, err
	}
	c := config.Client()
	services := grpcservice.New(grpcservice.Config{
		Trusted: trusted(&c), Allowed: config.GRPCServices, Providers: providers, Logger: o.logger,
	})
	warnings := resolver.NewWarnings(o.logger)
	c.Types = resolver.Types(resolver.TypesConfig{
		Warnings:  warnings,
		Providers: providers,
		Trusted:   trusted(&c),
		Filters:   o.filters.WithServices(services),
		Servers:   true,

		NodeCluster: config.Node.GetCluster(),
	})
	c.Transport = grpctransport.Builder{Logger: o.logger}
	c.Logger = o.logger
	client, err := xds.New(c)
	if err != nil {
		services.Close()
		return nil, errors.Join(err, providers.Close())
	}
	n := names{listener: config.ClientListener}
	if config.RouteConfigTemplate != "" {
		n.routeConfig = func(host, port string) string {
			name, _ := config.RouteConfig(host, port)
			return name
		}
	}
	if config.ServerListenerTemplate != "" {
		n.serverListener = config.ServerListener
	}
	return &source{
		resources: client,
		names:     n,
		status:    func() string { return troubles(client.ServerStatus()) },
		warnings:  warnings,
		xds:       client,
		close: func() {
			client.Close()
			services.Close()
			_ = providers.Close()
		},
	}, nil
}

// trusted reports whether every control plane may rewrite the authority of gRPC calls
// (gRFC A81): which of them a resource comes from, its decoder is not told.
func trusted(c *xds.Config) bool {
	all := slices.Clone(c.Servers)
	for _, a := range c.Authorities {
		all = append(all, a.Servers...)
	}
	return !slices.ContainsFunc(all, func(s xds.ServerConfig) bool { return !s.Trusted })
}

// troubles says what is wrong with the control planes, for a call that waits for one.
func troubles(servers []xds.ServerStatus) string {
	var said []string
	for _, s := range servers {
		switch since := time.Since(s.Since).Round(time.Millisecond); {
		case !s.Connected:
			said = append(said, fmt.Sprintf("control plane %s not reached for %v: %v",
				s.URI, since, cmp.Or(s.LastError, errors.New("still connecting"))))
		default:
			said = append(said, fmt.Sprintf("control plane %s connected for %v and has not sent it", s.URI, since))
		}
	}
	return strings.Join(said, "; ")
}
