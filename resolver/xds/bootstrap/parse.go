package bootstrap

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/weft-mesh/weft/resolver/xds"
	"github.com/weft-mesh/weft/security"
)

// document is the bootstrap as JSON.
type document struct {
	Servers                []serverJSON             `json:"xds_servers"`
	Node                   json.RawMessage          `json:"node"`
	Authorities            map[string]authorityJSON `json:"authorities"`
	CertificateProviders   map[string]providerJSON  `json:"certificate_providers"`
	GRPCServices           map[string]serverJSON    `json:"allowed_grpc_services"`
	ClientListenerTemplate string                   `json:"client_default_listener_resource_name_template"`
	ServerListenerTemplate string                   `json:"server_listener_resource_name_template"`
	Weft                   json.RawMessage          `json:"weft"`
}

type authorityJSON struct {
	ClientListenerTemplate string       `json:"client_listener_resource_name_template"`
	Servers                []serverJSON `json:"xds_servers"`
}

type providerJSON struct {
	Plugin string          `json:"plugin_name"`
	Config json.RawMessage `json:"config"`
}

type weftJSON struct {
	ADS                 string `json:"ads"`
	RouteConfigTemplate string `json:"route_config_name_template"`
	LocalCluster        string `json:"local_cluster"`
}

// Parse reads a bootstrap. An error names the field that is wrong or missing.
func Parse(data []byte) (*Config, error) {
	c, err := parse(data)
	if err != nil {
		return nil, fmt.Errorf("bootstrap: %w", err)
	}
	return c, nil
}

func parse(data []byte) (*Config, error) {
	var d document
	if err := unmarshal(data, &d); err != nil {
		return nil, err
	}
	weft, protocol, err := d.weft()
	if err != nil {
		return nil, err
	}
	c := &Config{
		ClientListenerTemplate: d.ClientListenerTemplate,
		ServerListenerTemplate: d.ServerListenerTemplate,
		RouteConfigTemplate:    weft.RouteConfigTemplate,
		LocalCluster:           weft.LocalCluster,
	}
	if c.ClientListenerTemplate == "" {
		c.ClientListenerTemplate = "%s"
	}
	if c.Node, err = d.node(); err != nil {
		return nil, err
	}
	if len(d.Servers) == 0 {
		return nil, errors.New("xds_servers is missing or empty")
	}
	if c.Servers, err = servers("xds_servers", d.Servers, protocol); err != nil {
		return nil, err
	}
	if c.Authorities, err = d.authorities(protocol); err != nil {
		return nil, err
	}
	if c.CertificateProviders, err = d.certificateProviders(); err != nil {
		return nil, err
	}
	if c.GRPCServices, err = d.grpcServices(); err != nil {
		return nil, err
	}
	return c, nil
}

// unmarshal is json.Unmarshal with errors that say where.
func unmarshal(data []byte, v any) error {
	err := json.Unmarshal(data, v)
	var syntax *json.SyntaxError
	var mismatch *json.UnmarshalTypeError
	switch {
	case errors.As(err, &syntax):
		return fmt.Errorf("line %d: %w", lineAt(data, syntax.Offset), err)
	case errors.As(err, &mismatch):
		return fmt.Errorf("line %d: %s: a JSON %s cannot stand here", lineAt(data, mismatch.Offset), mismatch.Field, mismatch.Value)
	}
	return err
}

func lineAt(data []byte, offset int64) int {
	return 1 + bytes.Count(data[:min(int(offset), len(data))], []byte("\n"))
}

func (d *document) weft() (weftJSON, xds.Protocol, error) {
	var w weftJSON
	if len(d.Weft) == 0 {
		return w, xds.ProtocolAuto, nil
	}
	decoder := json.NewDecoder(bytes.NewReader(d.Weft))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&w); err != nil {
		return w, 0, fmt.Errorf("weft: %w", err)
	}
	switch w.ADS {
	case "":
		return w, xds.ProtocolAuto, nil
	case "delta":
		return w, xds.ProtocolDelta, nil
	case "sotw":
		return w, xds.ProtocolSotW, nil
	}
	return w, 0, fmt.Errorf("weft.ads: %q is neither \"delta\" nor \"sotw\"", w.ADS)
}

func (d *document) node() (*corev3.Node, error) {
	n := &corev3.Node{}
	if len(d.Node) == 0 || string(d.Node) == "null" {
		return n, nil
	}
	if err := (protojson.UnmarshalOptions{DiscardUnknown: true}).Unmarshal(d.Node, n); err != nil {
		return nil, fmt.Errorf("node: %w", err)
	}
	// What the client is and can do is not for a file to say (gRFC A27).
	n.UserAgentName, n.UserAgentVersionType, n.ClientFeatures = "", nil, nil
	return n, nil
}

func (d *document) authorities(p xds.Protocol) (map[string]Authority, error) {
	all := make(map[string]Authority, len(d.Authorities))
	for name, j := range d.Authorities {
		field := fmt.Sprintf("authorities[%q]", name)
		a := Authority{ClientListenerTemplate: j.ClientListenerTemplate}
		prefix := "xdstp://" + url.PathEscape(name) + "/"
		switch {
		case a.ClientListenerTemplate == "":
			a.ClientListenerTemplate = prefix + "envoy.config.listener.v3.Listener/%s"
		case !strings.HasPrefix(a.ClientListenerTemplate, prefix):
			return nil, fmt.Errorf("%s.client_listener_resource_name_template: %q does not begin with %q",
				field, a.ClientListenerTemplate, prefix)
		}
		var err error
		if a.Servers, err = servers(field+".xds_servers", j.Servers, p); err != nil {
			return nil, err
		}
		all[name] = a
	}
	return all, nil
}

func (d *document) certificateProviders() (map[string]security.ProviderConfig, error) {
	all := make(map[string]security.ProviderConfig, len(d.CertificateProviders))
	for name, j := range d.CertificateProviders {
		if j.Plugin == "" {
			return nil, fmt.Errorf("certificate_providers[%q].plugin_name is missing", name)
		}
		all[name] = security.ProviderConfig{Plugin: j.Plugin, Config: j.Config}
	}
	// Nothing is started by it: a bad configuration shall be an error of the file.
	if _, err := security.NewProviders(all, nil); err != nil {
		return nil, fmt.Errorf("certificate_providers: %w", err)
	}
	return all, nil
}
