package security_test

import (
	"crypto/tls"
	"encoding/json"
	"os"
	"strings"
	"testing"

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

	onlyCA := map[string]string{"ca_certificate_file": files.CA}
	all := map[string]string{"ca_certificate_file": files.CA, "certificate_file": files.Cert, "private_key_file": files.Key}
	for _, c := range []struct {
		name       string
		config     json.RawMessage
		addr, host string
		ok         bool
	}{
		{"mutual", fileJSON(t, all), strict, "xds.shop.example", true},
		{"a certificate is required", fileJSON(t, onlyCA), strict, "xds.shop.example", false},
		{"roots of its own", fileJSON(t, onlyCA), lenient, "xds.shop.example", true},
		{"another host", fileJSON(t, onlyCA), lenient, "orders.shop.example", false},
		{"no host", fileJSON(t, onlyCA), lenient, "", false},
		{"an address that the certificate is not for", fileJSON(t, onlyCA), lenient, "127.0.0.1", false},
		{"system roots", nil, public, "xds.shop.example", true},
		{"system roots, another host", nil, public, "orders.shop.example", false},
		{"system roots do not know ours", json.RawMessage(`{}`), lenient, "xds.shop.example", false},
		{"our roots do not know the system's", fileJSON(t, onlyCA), public, "xds.shop.example", false},
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

	if _, err := security.NewChannelTLS([]byte(`{"certificate_file": "only.pem"}`), nil); err == nil {
		t.Error("a certificate without key was accepted")
	}
	t.Run("missing files", func(t *testing.T) {
		os.Remove(files.CA)
		channel, err := security.NewChannelTLS(fileJSON(t, all), nil)
		if err != nil {
			t.Fatal(err)
		}
		defer channel.Close()
		if _, err := connect(t, channel.ClientTLS, strict, "xds.shop.example"); err == nil || !strings.Contains(err.Error(), files.CA) {
			t.Errorf("got %v, want an error about %s", err, files.CA)
		}
	})
}
