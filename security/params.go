package security

import (
	"crypto/tls"
	"fmt"
	"strings"
)

// ParseCipherSuites returns the TLS 1.2 cipher suites of names, which are those of
// OpenSSL, as envoy TlsParameters.cipher_suites has them, or those of Go and IANA.
// A group "[A|B]" is its members. A suite that is unknown, or that Go holds to be
// insecure, is an error.
func ParseCipherSuites(names []string) ([]uint16, error) {
	var suites []uint16
	for _, group := range names {
		for name := range strings.SplitSeq(strings.Trim(group, "[]"), "|") {
			suite, err := parseCipherSuite(name)
			if err != nil {
				return nil, err
			}
			suites = append(suites, suite)
		}
	}
	return suites, nil
}

func parseCipherSuite(name string) (uint16, error) {
	if suite, ok := openSSLSuites[name]; ok {
		return suite, nil
	}
	for _, suite := range tls.CipherSuites() {
		if suite.Name == name {
			return suite.ID, nil
		}
	}
	return 0, fmt.Errorf("security: cipher suite %q is unknown or insecure", name)
}

// openSSLSuites are the suites of Envoy's default lists. The CBC and RSA key
// exchange ones that older lists hold are insecure by Go's account.
var openSSLSuites = map[string]uint16{
	"ECDHE-ECDSA-AES128-GCM-SHA256": tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
	"ECDHE-ECDSA-AES256-GCM-SHA384": tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
	"ECDHE-ECDSA-CHACHA20-POLY1305": tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
	"ECDHE-RSA-AES128-GCM-SHA256":   tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
	"ECDHE-RSA-AES256-GCM-SHA384":   tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
	"ECDHE-RSA-CHACHA20-POLY1305":   tls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
}

// ParseCurves returns the key exchange groups of names, which are those of
// BoringSSL, as envoy TlsParameters.ecdh_curves has them.
func ParseCurves(names []string) ([]tls.CurveID, error) {
	var curves []tls.CurveID
	for _, name := range names {
		curve, ok := curvesByName[name]
		if !ok {
			return nil, fmt.Errorf("security: key exchange group %q is unknown", name)
		}
		curves = append(curves, curve)
	}
	return curves, nil
}

var curvesByName = map[string]tls.CurveID{
	"P-256":              tls.CurveP256,
	"P-384":              tls.CurveP384,
	"P-521":              tls.CurveP521,
	"X25519":             tls.X25519,
	"X25519MLKEM768":     tls.X25519MLKEM768,
	"SecP256r1MLKEM768":  tls.SecP256r1MLKEM768,
	"SecP384r1MLKEM1024": tls.SecP384r1MLKEM1024,
}
