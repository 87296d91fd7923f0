package bootstrap_test

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/weft-mesh/weft/resolver/xds"
	"github.com/weft-mesh/weft/resolver/xds/bootstrap"
	"github.com/weft-mesh/weft/security"
)

const full = `{
  "xds_servers": [
    {
      "server_uri": "istiod.istio-system:15012",
      "channel_creds": [
        {"type": "google_default"},
        {"type": "tls", "config": {
          "ca_certificate_file": "ca.pem", "certificate_file": "cert.pem",
          "private_key_file": "key.pem", "refresh_interval": "60s"
        }},
        {"type": "insecure"}
      ],
      "call_creds": [
        {"type": "unheard_of"},
        {"type": "jwt_token_file", "config": {"jwt_token_file": "token"}}
      ],
      "server_features": ["xds_v3", "fail_on_data_errors", "resource_timer_is_transient_failure", "trusted_xds_server"]
    },
    {"server_uri": "second:1", "channel_creds": [{"type": "insecure"}], "server_features": ["ignore_resource_deletion"]}
  ],
  "node": {
    "id": "sidecar~10.0.0.1~orders.default~default.svc.cluster.local",
    "cluster": "orders",
    "locality": {"region": "r", "zone": "z", "sub_zone": "s"},
    "metadata": {"GENERATOR": "grpc"},
    "user_agent_name": "not for a file to say",
    "client_features": ["nor this"],
    "build_version": "unknown fields are ignored"
  },
  "authorities": {
    "with.own": {
      "client_listener_resource_name_template": "xdstp://with.own/envoy.config.listener.v3.Listener/c/%s",
      "xds_servers": [{"server_uri": "own:1", "channel_creds": [{"type": "insecure"}]}]
    },
    "plain": {}
  },
  "certificate_providers": {
    "default": {"plugin_name": "file_watcher", "config": {"ca_certificate_file": "ca.pem"}},
    "other": {"plugin_name": "from_the_future", "config": {"x": 1}}
  },
  "allowed_grpc_services": {
    "dns:///p:1": {"channel_creds": [{"type": "tls"}], "call_creds": [{"type": "jwt_token_file", "config": {"jwt_token_file": "token"}}]}
  },
  "client_default_listener_resource_name_template": "xdstp://plain/envoy.config.listener.v3.Listener/%s",
  "server_listener_resource_name_template": "xdstp://plain/envoy.config.listener.v3.Listener/server/%s",
  "unknown": true,
  "weft": {"ads": "sotw", "route_config_name_template": "%p", "local_cluster": "web"}
}`

func TestParse(t *testing.T) {
	got, err := bootstrap.Parse([]byte(full))
	if err != nil {
		t.Fatal(err)
	}
	plaintext := xds.ChannelCreds{Type: xds.CredsInsecure}
	want := &bootstrap.Config{
		Node: &corev3.Node{
			Id: "sidecar~10.0.0.1~orders.default~default.svc.cluster.local", Cluster: "orders",
			Locality: &corev3.Locality{Region: "r", Zone: "z", SubZone: "s"},
			Metadata: &structpb.Struct{Fields: map[string]*structpb.Value{"GENERATOR": structpb.NewStringValue("grpc")}},
		},
		Servers: []xds.ServerConfig{
			{
				URI: "istiod.istio-system:15012",
				Channel: xds.ChannelCreds{Type: xds.CredsTLS, TLS: security.FileWatcherConfig{
					CACertificateFile: "ca.pem", CertificateFile: "cert.pem", PrivateKeyFile: "key.pem", RefreshInterval: time.Minute,
				}},
				JWTFiles: []string{"token"}, Protocol: xds.ProtocolSotW,
				FailOnDataErrors: true, ResourceTimerIsTransientFailure: true, Trusted: true,
			},
			{URI: "second:1", Channel: plaintext, Protocol: xds.ProtocolSotW},
		},
		Authorities: map[string]bootstrap.Authority{
			"with.own": {
				ClientListenerTemplate: "xdstp://with.own/envoy.config.listener.v3.Listener/c/%s",
				Servers:                []xds.ServerConfig{{URI: "own:1", Channel: plaintext, Protocol: xds.ProtocolSotW}},
			},
			"plain": {ClientListenerTemplate: "xdstp://plain/envoy.config.listener.v3.Listener/%s"},
		},
		CertificateProviders: map[string]security.ProviderConfig{
			"default": {Plugin: "file_watcher", Config: json.RawMessage(`{"ca_certificate_file": "ca.pem"}`)},
			"other":   {Plugin: "from_the_future", Config: json.RawMessage(`{"x": 1}`)},
		},
		GRPCServices: map[string]xds.ServerConfig{
			"dns:///p:1": {URI: "dns:///p:1", Channel: xds.ChannelCreds{Type: xds.CredsTLS}, JWTFiles: []string{"token"}},
		},
		ClientListenerTemplate: "xdstp://plain/envoy.config.listener.v3.Listener/%s",
		ServerListenerTemplate: "xdstp://plain/envoy.config.listener.v3.Listener/server/%s",
		RouteConfigTemplate:    "%p",
		LocalCluster:           "web",
	}
	if d := cmp.Diff(want, got, protocmp.Transform()); d != "" {
		t.Errorf("config (-want +got):\n%s", d)
	}
	client := got.Client()
	if d := cmp.Diff(want.Node, client.Node, protocmp.Transform()); d != "" {
		t.Errorf("client's node (-want +got):\n%s", d)
	}
	if d := cmp.Diff(want.Servers, client.Servers); d != "" {
		t.Errorf("client's servers (-want +got):\n%s", d)
	}
	if d := cmp.Diff(map[string]xds.Authority{"with.own": {Servers: want.Authorities["with.own"].Servers}, "plain": {}}, client.Authorities); d != "" {
		t.Errorf("client's authorities (-want +got):\n%s", d)
	}
}

const minimal = `{"xds_servers": [{"server_uri": "cp:1", "channel_creds": [{"type": "insecure"}]}]}`

func TestDefaults(t *testing.T) {
	c, err := bootstrap.Parse([]byte(minimal))
	if err != nil {
		t.Fatal(err)
	}
	if c.Node == nil || c.Servers[0].Protocol != xds.ProtocolAuto {
		t.Errorf("config is %+v", c)
	}
	if got, err := c.ClientListener("", "orders:8080"); got != "orders:8080" || err != nil {
		t.Errorf("listener is %q, %v", got, err)
	}
	if _, err := c.ClientListener("x", "orders"); err == nil || err.Error() != `bootstrap: authority "x" is not among authorities` {
		t.Errorf("error is %v", err)
	}
	if _, err := c.ServerListener("0.0.0.0:80"); err == nil || !strings.Contains(err.Error(), "server_listener_resource_name_template is missing") {
		t.Errorf("error is %v", err)
	}
	if _, ok := c.RouteConfig("orders", "80"); ok {
		t.Error("sidecar mode is on")
	}
}

func TestNames(t *testing.T) {
	c, err := bootstrap.Parse([]byte(full))
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct{ authority, name, want string }{
		{"", "orders", "xdstp://plain/envoy.config.listener.v3.Listener/orders"},
		{"with.own", "orders", "xdstp://with.own/envoy.config.listener.v3.Listener/c/orders"},
		// What RFC 3986 lets stand in a path stays, all else is encoded.
		{"", "a/b:80;v=1,2!$&'()*+@~-._", "xdstp://plain/envoy.config.listener.v3.Listener/a/b:80;v=1,2!$&'()*+@~-._"},
		{"", "a b?c#d%[é]", "xdstp://plain/envoy.config.listener.v3.Listener/a%20b%3Fc%23d%25%5B%C3%A9%5D"},
	} {
		if got, err := c.ClientListener(test.authority, test.name); got != test.want || err != nil {
			t.Errorf("%s: listener is %s, %v", test.name, got, err)
		}
	}
	if got, err := c.ServerListener("[::1]:80"); got != "xdstp://plain/envoy.config.listener.v3.Listener/server/%5B::1%5D:80" || err != nil {
		t.Errorf("server's listener is %s, %v", got, err)
	}
	if got, ok := c.RouteConfig("orders", "8080"); got != "8080" || !ok {
		t.Errorf("route configuration is %s", got)
	}
}

func TestNameOfAnUnknownAuthority(t *testing.T) {
	c, err := bootstrap.Parse([]byte(strings.Replace(minimal, "{", `{"client_default_listener_resource_name_template": "xdstp://nowhere/l/%s",`, 1)))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.ClientListener("", "a"); err == nil || err.Error() != `bootstrap: the authority of "xdstp://nowhere/l/a" is not among authorities` {
		t.Errorf("error is %v", err)
	}
}

func TestEscapedAuthority(t *testing.T) {
	c, err := bootstrap.Parse([]byte(strings.Replace(minimal, "{", `{"authorities": {"a b": {}, "": {}},
		"client_default_listener_resource_name_template": "xdstp:///l/%s",`, 1)))
	if err != nil {
		t.Fatal(err)
	}
	if got, err := c.ClientListener("a b", "x"); got != "xdstp://a%20b/envoy.config.listener.v3.Listener/x" || err != nil {
		t.Errorf("listener is %s, %v", got, err)
	}
	if got, err := c.ClientListener("", "x"); got != "xdstp:///l/x" || err != nil {
		t.Errorf("listener is %s, %v", got, err)
	}
}

func TestErrorsNameTheField(t *testing.T) {
	server := func(fields string) string { return `{"xds_servers": [{"server_uri": "cp:1", ` + fields + `}]}` }
	with := func(field string) string { return strings.Replace(minimal, "{", "{"+field+",", 1) }
	for _, test := range []struct{ json, want string }{
		{`{}`, `bootstrap: xds_servers is missing or empty`},
		{``, `bootstrap: line 1: unexpected end of JSON input`},
		{"{\n\"xds_servers\": [}", `bootstrap: line 2: invalid character '}' looking for beginning of value`},
		{"{\n\"xds_servers\": [{\"server_uri\": 7}]}", `bootstrap: line 2: xds_servers.server_uri: a JSON number cannot stand here`},
		{`{"xds_servers": [{}]}`, `bootstrap: xds_servers[0].server_uri is missing`},
		{`{"xds_servers": [{"server_uri": "cp:1"}]}`, `bootstrap: xds_servers[0].channel_creds is missing or empty`},
		{server(`"channel_creds": [{"type": "google_default"}]`), `bootstrap: xds_servers[0].channel_creds: none of "google_default" is supported; use "tls" or "insecure" (google_default needs Google's own libraries, which Weft does without)`},
		{server(`"channel_creds": [{"type": "alts"}, {"type": "magic"}]`), `bootstrap: xds_servers[0].channel_creds: none of "alts", "magic" is supported; use "tls" or "insecure"`},
		{server(`"channel_creds": [{"type": "tls", "config": {"private_key_file": "k"}}]`), `certificate_file and private_key_file go together`},
		{server(`"channel_creds": [{"type": "tls", "config": {"spiffe_trust_bundle_map_file": "b"}}]`), `spiffe_trust_bundle_map_file is not supported`},
		{server(`"channel_creds": [{"type": "tls"}], "call_creds": [{"type": "jwt_token_file"}]`), `bootstrap: xds_servers[0].call_creds[0].config.jwt_token_file is missing`},
		{server(`"channel_creds": [{"type": "tls"}], "call_creds": [{"type": "jwt_token_file", "config": 1}]`), `bootstrap: xds_servers[0].call_creds[0].config: json`},
		{server(`"channel_creds": [{"type": "insecure"}], "call_creds": [{"type": "jwt_token_file", "config": {"jwt_token_file": "t"}}]`), `bootstrap: xds_servers[0].call_creds[0]: a token is not sent over an insecure channel`},
		{with(`"node": {"id": 7}`), `bootstrap: node: `},
		{with(`"authorities": {"a": {"client_listener_resource_name_template": "xdstp://b/l/%s"}}`), `bootstrap: authorities["a"].client_listener_resource_name_template: "xdstp://b/l/%s" does not begin with "xdstp://a/"`},
		{with(`"authorities": {"a": {"xds_servers": [{}]}}`), `bootstrap: authorities["a"].xds_servers[0].server_uri is missing`},
		{with(`"certificate_providers": {"p": {}}`), `bootstrap: certificate_providers["p"].plugin_name is missing`},
		{with(`"certificate_providers": {"p": {"plugin_name": "file_watcher", "config": {}}}`), `bootstrap: certificate_providers: certificate provider "p": `},
		{with(`"allowed_grpc_services": {"dns:///p:1": {}}`), `bootstrap: allowed_grpc_services["dns:///p:1"].channel_creds is missing or empty`},
		{with(`"allowed_grpc_services": {"": {"channel_creds": [{"type": "insecure"}]}}`), `bootstrap: allowed_grpc_services: a target URI is empty`},
		{with(`"weft": {"ads": "rest"}`), `bootstrap: weft.ads: "rest" is neither "delta" nor "sotw"`},
		{with(`"weft": {"adds": "delta"}`), `bootstrap: weft: json: unknown field "adds"`},
	} {
		_, err := bootstrap.Parse([]byte(test.json))
		// protojson varies the spaces in its messages on purpose.
		if err == nil || !strings.Contains(strings.ReplaceAll(err.Error(), "\u00a0", " "), test.want) {
			t.Errorf("%s\nerror is %v\nwant      %s", test.json, err, test.want)
		}
	}
}

func TestFromEnv(t *testing.T) {
	dir := t.TempDir()
	good, bad := filepath.Join(dir, "good.json"), filepath.Join(dir, "bad.json")
	for path, text := range map[string]string{good: minimal, bad: "{}"} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	const other = `{"xds_servers": [{"server_uri": "inline:1", "channel_creds": [{"type": "insecure"}]}]}`
	for name, test := range map[string]struct {
		file, inline string
		uri          string
		want         []string // in the error
	}{
		"file":          {file: good, uri: "cp:1"},
		"inline":        {inline: other, uri: "inline:1"},
		"both":          {file: good, inline: other, uri: "cp:1"},
		"neither":       {want: []string{"GRPC_XDS_BOOTSTRAP", "GRPC_XDS_BOOTSTRAP_CONFIG"}},
		"missing file":  {file: good + ".not", inline: other, want: []string{"GRPC_XDS_BOOTSTRAP: ", "good.json.not", "no such file"}},
		"bad file":      {file: bad, want: []string{"GRPC_XDS_BOOTSTRAP: ", "xds_servers is missing", bad}},
		"bad inline":    {inline: "{", want: []string{"GRPC_XDS_BOOTSTRAP_CONFIG: ", "line 1"}},
		"a folder":      {file: dir, want: []string{"GRPC_XDS_BOOTSTRAP: ", "is a directory"}},
		"inline is off": {inline: "{}", want: []string{"GRPC_XDS_BOOTSTRAP_CONFIG: ", "xds_servers is missing"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv(bootstrap.EnvFile, test.file)
			t.Setenv(bootstrap.EnvInline, test.inline)
			c, err := bootstrap.FromEnv()
			if test.want == nil {
				if err != nil || c.Servers[0].URI != test.uri {
					t.Errorf("config is %+v, %v", c, err)
				}
				return
			}
			if err == nil {
				t.Fatal("no error")
			}
			for _, part := range test.want {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("error is %v, without %s", err, part)
				}
			}
			if errors.Is(err, bootstrap.ErrNotSet) != (name == "neither") {
				t.Errorf("error is %v", err)
			}
		})
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(full))
	f.Add([]byte(minimal))
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := bootstrap.Parse(data)
		if err != nil {
			if !strings.HasPrefix(err.Error(), "bootstrap: ") {
				t.Errorf("error is %v", err)
			}
			return
		}
		for _, s := range c.Servers {
			if s.URI == "" || s.Channel.Type == "" {
				t.Errorf("server is %+v", s)
			}
		}
		_, _ = c.ClientListener("", "a/b:80")
		_, _ = c.ServerListener("[::]:80")
		config := c.Client()
		if config.Node == nil || len(config.Servers) == 0 {
			t.Error("the client's configuration is incomplete")
		}
	})
}
