package security_test

import (
	"crypto/tls"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/weft-mesh/weft/security"
)

func TestParseCipherSuites(t *testing.T) {
	got, err := security.ParseCipherSuites([]string{"[ECDHE-ECDSA-AES128-GCM-SHA256|ECDHE-ECDSA-CHACHA20-POLY1305]", "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384"})
	if err != nil {
		t.Fatal(err)
	}
	want := []uint16{
		tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
		tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
		tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	for _, bad := range []string{"", "[]", "AES128-SHA", "TLS_RSA_WITH_RC4_128_SHA", "nonsense"} {
		if _, err := security.ParseCipherSuites([]string{bad}); err == nil || !strings.Contains(err.Error(), "unknown or insecure") {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

func TestParseCurves(t *testing.T) {
	got, err := security.ParseCurves([]string{"X25519MLKEM768", "P-256"})
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff([]tls.CurveID{tls.X25519MLKEM768, tls.CurveP256}, got); d != "" {
		t.Error(d)
	}
	if _, err := security.ParseCurves([]string{"P-255"}); err == nil || !strings.Contains(err.Error(), `"P-255"`) {
		t.Error(err)
	}
}
