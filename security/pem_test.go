package security_test

import (
	"bytes"
	"crypto"
	"strings"
	"testing"

	"github.com/weft-mesh/weft/internal/testca"
	"github.com/weft-mesh/weft/security"
)

// TestCutFiles cuts files at every byte: what is left is refused, or is whole.
func TestCutFiles(t *testing.T) {
	one, two := testca.New(t, "one"), testca.New(t, "two")
	list := append(one.PEM(), two.PEM()...)
	boundary := len(one.PEM())
	for i := range list {
		bundle, err := security.ParseBundle(list[:i])
		atBlockEnd := i == boundary || i == boundary-1 // with or without the last newline
		if atBlockEnd && err != nil {
			t.Errorf("cut at %d, between two blocks: %v", i, err)
		}
		if !atBlockEnd && i != len(list)-1 && err == nil {
			t.Errorf("cut at %d of %d: accepted with %d certificate(s)", i, len(list), len(bundle.Certificates()))
		}
	}

	leaf := one.Intermediate(t, "eu").SPIFFE(t, orders)
	cert, key := testca.CertPEM(leaf), testca.KeyPEM(t, leaf)
	if _, err := security.ParseIdentity(cert, key); err != nil {
		t.Fatal(err)
	}
	if got, err := security.ParseIdentity(append(cert, key...), append(cert, key...)); err != nil || len(got.Certificate) != 2 {
		t.Errorf("certificate and key in one file: %v", err)
	}
	endOfLeaf := bytes.Index(cert, []byte("-----END CERTIFICATE-----")) + len("-----END CERTIFICATE-----")
	for i := range cert {
		if i == endOfLeaf || i == endOfLeaf+1 || i == len(cert)-1 {
			continue // a chain of one
		}
		if _, err := security.ParseIdentity(cert[:i], key); err == nil {
			t.Errorf("chain cut at %d of %d: accepted", i, len(cert))
		}
	}
}

func TestBadPEM(t *testing.T) {
	ca := testca.New(t, "shop")
	a, b := ca.SPIFFE(t, orders), ca.SPIFFE(t, orders)
	key := string(testca.KeyPEM(t, a))
	encrypted := strings.ReplaceAll(key, "PRIVATE KEY", "ENCRYPTED PRIVATE KEY")
	for _, c := range []struct{ name, cert, key, want string }{
		{"empty", "", key, "certificate: no PEM block"},
		{"key of another", string(testca.CertPEM(a)), string(testca.KeyPEM(t, b)), "does not match"},
		{"passphrase", string(testca.CertPEM(a)), encrypted, "passphrase"},
		{"no key", string(testca.CertPEM(a)), string(testca.CertPEM(a)), "rather than a key"},
		{"bad base64", strings.Replace(string(testca.CertPEM(a)), "M", "!", 1), key, "1 of 1 PEM blocks"},
	} {
		if _, err := security.ParseIdentity([]byte(c.cert), []byte(c.key)); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want an error about %q", c.name, err, c.want)
		}
	}
	if _, err := security.ParseBundle([]byte(key)); err == nil || !strings.Contains(err.Error(), "no CERTIFICATE") {
		t.Errorf("roots of a key: %v", err)
	}
	junk := "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"
	if _, err := security.ParseBundle(append(ca.PEM(), junk...)); err == nil || !strings.Contains(err.Error(), "PEM block 2") {
		t.Errorf("a root that is none: %v", err)
	}
	commented := append([]byte("# our roots\n"), ca.PEM()...)
	if bundle, err := security.ParseBundle(append(commented, "the end\n"...)); err != nil || !bundle.Certificates()[0].Equal(ca.Cert) {
		t.Errorf("text around the blocks: %v", err)
	}
}

// FuzzPEM holds what is accepted to what is promised of it.
func FuzzPEM(f *testing.F) {
	ca := testca.New(f, "shop")
	leaf := ca.Intermediate(f, "eu").SPIFFE(f, orders)
	f.Add(testca.CertPEM(leaf), testca.KeyPEM(f, leaf))
	f.Add(ca.PEM(), []byte("-----BEGIN EC PARAMETERS-----\n-----END EC PARAMETERS-----\n"))
	f.Add([]byte("-----BEGIN "), []byte("-"))
	f.Fuzz(func(t *testing.T, cert, key []byte) {
		if bundle, err := security.ParseBundle(cert); err == nil && len(bundle.Certificates()) == 0 {
			t.Error("an empty bundle")
		}
		identity, err := security.ParseIdentity(cert, key)
		if err != nil {
			return
		}
		signer, ok := identity.PrivateKey.(crypto.Signer)
		if !ok || identity.Leaf == nil {
			t.Fatal("no signer or no leaf")
		}
		type equaler interface{ Equal(crypto.PublicKey) bool }
		if !signer.Public().(equaler).Equal(identity.Leaf.PublicKey) {
			t.Error("the key is not the certificate's")
		}
	})
}
