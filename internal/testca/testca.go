// Package testca issues certificates for tests: an authority in memory, and leaves
// with the names and the faults that a test needs. Nothing here is fit for anything
// but tests.
package testca

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"net/url"
	"testing"
	"time"
)

// CA is a certificate authority.
type CA struct {
	Cert *x509.Certificate

	key     crypto.Signer
	parents [][]byte // the certificates between this CA and its root, itself first; none for a root
}

// New returns a root authority that is valid for a day.
func New(tb testing.TB, name string) *CA {
	tb.Helper()
	key := newKey(tb)
	ca := &CA{key: key}
	ca.Cert = sign(tb, authority(name), nil, key.Public(), key)
	return ca
}

// Intermediate returns an authority that ca vouches for. The leaves that it issues
// carry its certificate in their chain.
func (ca *CA) Intermediate(tb testing.TB, name string) *CA {
	tb.Helper()
	key := newKey(tb)
	cert := sign(tb, authority(name), ca.Cert, key.Public(), ca.key)
	return &CA{Cert: cert, key: key, parents: append([][]byte{cert.Raw}, ca.parents...)}
}

// Leaf says what a certificate is to say. The zero value is for nobody, valid for an
// hour and usable by clients and servers.
type Leaf struct {
	URIs   []string // such as spiffe://shop.example/orders
	DNS    []string
	IPs    []string
	Emails []string

	// NotBefore and NotAfter default to an hour ago and an hour from now.
	NotBefore, NotAfter time.Time
	// Usage defaults to client and server authentication.
	Usage []x509.ExtKeyUsage
}

// Issue returns a certificate as leaf says, with its key and its chain.
func (ca *CA) Issue(tb testing.TB, leaf Leaf) *tls.Certificate {
	tb.Helper()
	now := time.Now()
	template := &x509.Certificate{
		NotBefore:   orElse(leaf.NotBefore, now.Add(-time.Hour)),
		NotAfter:    orElse(leaf.NotAfter, now.Add(time.Hour)),
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: leaf.Usage,
		DNSNames:    leaf.DNS,

		EmailAddresses: leaf.Emails,
	}
	if template.ExtKeyUsage == nil {
		template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth}
	}
	for _, text := range leaf.URIs {
		uri, err := url.Parse(text)
		if err != nil {
			tb.Fatal(err)
		}
		template.URIs = append(template.URIs, uri)
	}
	for _, text := range leaf.IPs {
		template.IPAddresses = append(template.IPAddresses, net.ParseIP(text))
	}
	key := newKey(tb)
	cert := sign(tb, template, ca.Cert, key.Public(), ca.key)
	return &tls.Certificate{
		Certificate: append([][]byte{cert.Raw}, ca.parents...),
		PrivateKey:  key,
		Leaf:        cert,
	}
}

// SPIFFE returns a certificate for one SPIFFE ID.
func (ca *CA) SPIFFE(tb testing.TB, id string) *tls.Certificate {
	tb.Helper()
	return ca.Issue(tb, Leaf{URIs: []string{id}})
}

// DNS returns a certificate for host names.
func (ca *CA) DNS(tb testing.TB, names ...string) *tls.Certificate {
	tb.Helper()
	return ca.Issue(tb, Leaf{DNS: names})
}

// Pool returns a pool that trusts ca.
func (ca *CA) Pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(ca.Cert)
	return pool
}

// PEM returns ca's own certificate.
func (ca *CA) PEM() []byte { return certPEM(ca.Cert.Raw) }

// CertPEM returns the chain of cert, leaf first.
func CertPEM(cert *tls.Certificate) []byte { return certPEM(cert.Certificate...) }

// KeyPEM returns the key of cert, as PKCS #8.
func KeyPEM(tb testing.TB, cert *tls.Certificate) []byte {
	tb.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(cert.PrivateKey)
	if err != nil {
		tb.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
}

func certPEM(certs ...[]byte) []byte {
	var out []byte
	for _, der := range certs {
		out = append(out, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})...)
	}
	return out
}

func authority(name string) *x509.Certificate {
	now := time.Now()
	return &x509.Certificate{
		Subject:               pkix.Name{CommonName: name},
		NotBefore:             now.Add(-24 * time.Hour),
		NotAfter:              now.Add(24 * time.Hour),
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		IsCA:                  true,
		BasicConstraintsValid: true,
	}
}

// sign issues template; a nil parent makes it self-signed.
func sign(tb testing.TB, template, parent *x509.Certificate, key crypto.PublicKey, signer crypto.Signer) *x509.Certificate {
	tb.Helper()
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		tb.Fatal(err)
	}
	template.SerialNumber = serial.Add(serial, big.NewInt(1))
	if parent == nil {
		parent = template
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key, signer)
	if err != nil {
		tb.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		tb.Fatal(err)
	}
	return cert
}

func newKey(tb testing.TB) crypto.Signer {
	tb.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		tb.Fatal(err)
	}
	return key
}

func orElse(t, fallback time.Time) time.Time {
	if t.IsZero() {
		return fallback
	}
	return t
}
