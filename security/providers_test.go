package security_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/weft-mesh/weft/internal/testca"
	"github.com/weft-mesh/weft/security"
)

// fileJSON is the JSON configuration for files.
func fileJSON(t testing.TB, fields map[string]string) json.RawMessage {
	t.Helper()
	data, err := json.Marshal(fields)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func TestProviders(t *testing.T) {
	ca := testca.New(t, "shop")
	cert := ca.SPIFFE(t, orders)
	files := testca.NewFiles(t)
	files.WriteIdentity(t, cert)
	files.WriteCA(t, ca)
	p, err := security.NewProviders(map[string]security.ProviderConfig{
		"default":  {Plugin: "file_watcher", Config: fileJSON(t, map[string]string{"certificate_file": files.Cert, "private_key_file": files.Key, "ca_certificate_file": files.CA})},
		"only_ca":  {Plugin: "file_watcher", Config: fileJSON(t, map[string]string{"ca_certificate_file": files.CA})},
		"only_own": {Plugin: "file_watcher", Config: fileJSON(t, map[string]string{"certificate_file": files.Cert, "private_key_file": files.Key})},
		"vault":    {Plugin: "vault", Config: json.RawMessage(`{"certificate_file": 1}`)},
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	identity, err := p.Identity("default")
	if err != nil {
		t.Fatal(err)
	}
	identityIs(t, identity, cert)
	roots, err := p.Roots("")
	if err != nil {
		t.Fatal(err)
	}
	rootsAre(t, roots, ca)
	if any(roots) != any(identity) {
		t.Error("one instance was started twice")
	}

	for _, c := range []struct {
		name string
		ask  func(string) (bool, error)
		want string
	}{
		{"only_ca", has(p.Identity), "no certificate_file"},
		{"only_own", has(p.Roots), "no ca_certificate_file"},
		{"vault", has(p.Identity), `plugin "vault"`},
		{"ordres", has(p.Roots), `"ordres" is not defined by the bootstrap (it has default, only_ca, only_own)`},
	} {
		got, err := c.ask(c.name)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want an error about %q", c.name, err, c.want)
		}
		if got {
			t.Errorf("%s: a source beside an error", c.name)
		}
	}

	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := identity.Identity(t.Context()); err == nil {
		t.Error("a closed provider gave an identity")
	}
	if _, err := p.Identity("default"); err == nil {
		t.Error("closed providers started one")
	}
	p.Close()
}

// has adapts a look-up to whether it gave a source, which a nil pointer is, too.
func has[S any](ask func(string) (S, error)) func(string) (bool, error) {
	return func(name string) (bool, error) {
		source, err := ask(name)
		return any(source) != nil, err
	}
}

func TestProvidersOfNothing(t *testing.T) {
	p, err := security.NewProviders(nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	if _, err := p.Roots(""); err == nil || !strings.Contains(err.Error(), `"default" is not defined: the bootstrap has no certificate_providers`) {
		t.Error(err)
	}
}

func TestProvidersStartWhenAskedFor(t *testing.T) {
	// goleak would find the goroutine, since nothing closes it.
	if _, err := security.NewProviders(map[string]security.ProviderConfig{
		"default": {Plugin: "file_watcher", Config: json.RawMessage(`{"ca_certificate_file": "ca.pem"}`)},
	}, nil); err != nil {
		t.Fatal(err)
	}
}

func TestFileWatcherConfig(t *testing.T) {
	for _, c := range []struct{ json, want string }{
		{`{"certificate_file": "a"}`, "go together"},
		{`{"private_key_file": "a", "ca_certificate_file": "b"}`, "go together"},
		{`{}`, "neither certificate_file nor ca_certificate_file"},
		{``, "neither certificate_file nor ca_certificate_file"},
		{`[]`, "cannot unmarshal"},
		{`{"ca_certificate_file": "a", "refresh_interval": "10m"}`, `"10m" is not a duration in seconds`},
		{`{"ca_certificate_file": "a", "refresh_interval": "1m2s"}`, "not a duration in seconds"},
		{`{"ca_certificate_file": "a", "refresh_interval": "-5s"}`, "not a duration in seconds"},
		{`{"ca_certificate_file": "a", "refresh_interval": "1.2.3s"}`, "refresh_interval"},
		{`{"ca_certificate_file": "a", "refresh_interval": "0s"}`, "not a positive duration"},
		{`{"ca_certificate_file": "a", "refresh_interval": "9999999999999s"}`, "refresh_interval"},
		{`{"ca_certificate_file": "a", "spiffe_trust_bundle_map_file": "b"}`, "spiffe_trust_bundle_map_file is not supported"},
	} {
		_, err := security.NewProviders(map[string]security.ProviderConfig{"x": {Plugin: "file_watcher", Config: json.RawMessage(c.json)}}, nil)
		if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), `"x"`) {
			t.Errorf("%s: got %v, want an error about %q", c.json, err, c.want)
		}
	}
	config, err := security.ParseFileWatcherConfig([]byte(`{"ca_certificate_file": "a", "refresh_interval": "1.5s", "unknown": []}`))
	if err != nil || config.RefreshInterval.Seconds() != 1.5 || config.CACertificateFile != "a" {
		t.Errorf("got %+v, %v", config, err)
	}
	if _, err := security.NewFileWatcher(security.FileWatcherConfig{CACertificateFile: "a", RefreshInterval: -1}, nil); err == nil {
		t.Error("a negative interval was accepted")
	}
}

func FuzzFileWatcherConfig(f *testing.F) {
	f.Add([]byte(`{"certificate_file": "a", "private_key_file": "b", "ca_certificate_file": "c", "refresh_interval": "600s"}`))
	f.Add([]byte(`{"refresh_interval": "0.000000001s"}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		config, err := security.ParseFileWatcherConfig(data)
		if err != nil {
			return
		}
		if (config.CertificateFile == "") != (config.PrivateKeyFile == "") || config.RefreshInterval < 0 {
			t.Errorf("accepted %+v", config)
		}
	})
}
