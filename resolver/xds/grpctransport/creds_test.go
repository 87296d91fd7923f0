package grpctransport_test

import (
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/credentials"

	"github.com/weft-mesh/weft/internal/testca"
	"github.com/weft-mesh/weft/resolver/xds"
	"github.com/weft-mesh/weft/resolver/xds/grpctransport"
	"github.com/weft-mesh/weft/security"
)

func TestTLS(t *testing.T) {
	ca, other := testca.New(t, "ca"), testca.New(t, "other")
	loopback := testca.Leaf{IPs: []string{"127.0.0.1"}}
	paths, foreign := testca.NewFiles(t), testca.NewFiles(t)
	paths.WriteIdentity(t, ca.Issue(t, loopback))
	paths.WriteCA(t, ca)
	foreign.WriteCA(t, other)
	files := security.FileWatcherConfig{CACertificateFile: paths.CA, CertificateFile: paths.Cert, PrivateKeyFile: paths.Key}

	server := &ads{delta: true}
	address, _ := server.serve(t, "127.0.0.1:0", credentials.NewTLS(&tls.Config{
		Certificates: []tls.Certificate{*ca.Issue(t, loopback)}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: ca.Pool(),
	}))
	secured := func(files security.FileWatcherConfig) xds.ServerConfig {
		return xds.ServerConfig{URI: address, Channel: xds.ChannelCreds{Type: xds.CredsTLS, TLS: files}}
	}

	t.Run("mutual", func(t *testing.T) {
		token := filepath.Join(t.TempDir(), "token")
		claims := base64.RawURLEncoding.EncodeToString(fmt.Appendf(nil, `{"exp":%d}`, time.Now().Add(time.Hour).Unix()))
		if err := os.WriteFile(token, []byte("header."+claims+".signature\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		config := secured(files)
		config.JWTFiles = []string{token}
		if got := watch(client(t, config, grpctransport.Builder{}), "a").value(t); got != "a" {
			t.Errorf("value is %s", got)
		}
		server.mu.Lock()
		defer server.mu.Unlock()
		if want := "Bearer header." + claims + ".signature"; len(server.tokens) != 1 || server.tokens[0] != want {
			t.Errorf("tokens are %q", server.tokens)
		}
	})
	for name, test := range map[string]struct {
		change func(*security.FileWatcherConfig)
		want   string
	}{
		"server of another authority": {func(f *security.FileWatcherConfig) { f.CACertificateFile = foreign.CA }, "unknown authority"},
		"system roots":                {func(f *security.FileWatcherConfig) { f.CACertificateFile = "" }, "unknown authority"},
		// In TLS 1.3 the server refuses after the handshake: its reason may be lost to
		// the write that finds the connection broken.
		"no certificate":      {func(f *security.FileWatcherConfig) { f.CertificateFile, f.PrivateKeyFile = "", "" }, "unavailable"},
		"authorities missing": {func(f *security.FileWatcherConfig) { f.CACertificateFile += ".not" }, "ca.pem.not"},
	} {
		t.Run(name, func(t *testing.T) {
			f := files
			test.change(&f)
			w := watch(client(t, secured(f), grpctransport.Builder{}), "a")
			if err := w.failure(t); !strings.Contains(err.Error(), test.want) {
				t.Errorf("error is %v", err)
			}
		})
	}
	t.Run("another host's certificate", func(t *testing.T) {
		_, port, err := net.SplitHostPort(address)
		if err != nil {
			t.Fatal(err)
		}
		config := secured(files)
		config.URI = "passthrough:///localhost:" + port
		if err := watch(client(t, config, grpctransport.Builder{}), "a").failure(t); !strings.Contains(err.Error(), "localhost") {
			t.Errorf("error is %v", err)
		}
	})
}

func TestCredentialsThatCannotBeBuilt(t *testing.T) {
	for name, test := range map[string]struct {
		config xds.ServerConfig
		want   string
	}{
		"none":    {xds.ServerConfig{URI: "cp:1"}, `xds server cp:1: no channel credentials: say "insecure" if plaintext is meant`},
		"unknown": {xds.ServerConfig{URI: "cp:1", Channel: xds.ChannelCreds{Type: "magic"}}, `xds server cp:1: channel credentials "magic" are not supported`},
		"half an identity": {
			xds.ServerConfig{URI: "cp:1", Channel: xds.ChannelCreds{Type: xds.CredsTLS, TLS: security.FileWatcherConfig{PrivateKeyFile: "x"}}},
			"certificate_file and private_key_file go together",
		},
		"token in the open": {
			xds.ServerConfig{URI: "cp:1", Channel: xds.ChannelCreds{Type: xds.CredsInsecure}, JWTFiles: []string{"x"}},
			"transport level security",
		},
	} {
		t.Run(name, func(t *testing.T) {
			tr, err := grpctransport.Builder{}.Build(test.config)
			if err == nil {
				tr.Close()
				t.Fatal("no error")
			}
			if !strings.Contains(err.Error(), test.want) {
				t.Errorf("error is %v", err)
			}
		})
	}
}
