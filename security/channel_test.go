package security_test

import (
	"crypto/tls"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/weft-mesh/weft/internal/testca"
	"github.com/weft-mesh/weft/security"
)

func TestChannelTLS(t *testing.T) {
	ca := testca.New(t, "shop")
	files := testca.NewFiles(t)
	files.WriteIdentity(t, ca.SPIFFE(t, "spiffe://shop.example/web"))
	files.WriteCA(t, ca)

	config := as(ca.DNS(t, "xds.shop.example"))
	config.ClientAuth, config.ClientCAs = tls.RequireAndVerifyClientCert, ca.Pool()
	strict := serve(t, config)
	lenient := serve(t, as(ca.DNS(t, "xds.shop.example")))
	public := serve(t, as(systemCA(t).DNS(t, "xds.shop.example")))

	onlyCA := security.FileWatcherConfig{CACertificateFile: files.CA}
	all := security.FileWatcherConfig{CACertificateFile: files.CA, CertificateFile: files.Cert, PrivateKeyFile: files.Key}
	for _, c := range []struct {
		name       string
		config     security.FileWatcherConfig
		addr, host string
		ok         bool
	}{
		{"mutual", all, strict, "xds.shop.example", true},
		{"a certificate is required", onlyCA, strict, "xds.shop.example", false},
		{"roots of its own", onlyCA, lenient, "xds.shop.example", true},
		{"another host", onlyCA, lenient, "orders.shop.example", false},
		{"no host", onlyCA, lenient, "", false},
		{"an address that the certificate is not for", onlyCA, lenient, "127.0.0.1", false},
		{"system roots", security.FileWatcherConfig{}, public, "xds.shop.example", true},
		{"system roots, another host", security.FileWatcherConfig{}, public, "orders.shop.example", false},
		{"system roots do not know ours", security.FileWatcherConfig{RefreshInterval: time.Minute}, lenient, "xds.shop.example", false},
		{"our roots do not know the system's", onlyCA, public, "xds.shop.example", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			channel, err := security.NewChannelTLS(c.config, nil)
			if err != nil {
				t.Fatal(err)
			}
			defer channel.Close()
			if _, err := connect(t, channel.ClientTLS, c.addr, c.host); (err == nil) != c.ok {
				t.Error(err)
			}
		})
	}

	for _, half := range []security.FileWatcherConfig{{CertificateFile: "only.pem"}, {PrivateKeyFile: "only.pem"}} {
		if _, err := security.NewChannelTLS(half, nil); err == nil {
			t.Errorf("%+v was accepted", half)
		}
	}
	t.Run("missing files", func(t *testing.T) {
		os.Remove(files.CA)
		channel, err := security.NewChannelTLS(all, nil)
		if err != nil {
			t.Fatal(err)
		}
		defer channel.Close()
		if _, err := connect(t, channel.ClientTLS, strict, "xds.shop.example"); err == nil || !strings.Contains(err.Error(), files.CA) {
			t.Errorf("got %v, want an error about %s", err, files.CA)
		}
	})
}
