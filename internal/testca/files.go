package testca

import (
	"crypto/tls"
	"os"
	"path/filepath"
	"testing"
)

// Files are the paths of PEM files, in a folder of their own.
type Files struct{ Cert, Key, CA string }

// NewFiles returns paths in a temporary folder of tb. There are no files yet.
func NewFiles(tb testing.TB) Files {
	tb.Helper()
	dir := tb.TempDir()
	return Files{
		Cert: filepath.Join(dir, "cert.pem"),
		Key:  filepath.Join(dir, "key.pem"),
		CA:   filepath.Join(dir, "ca.pem"),
	}
}

// WriteIdentity writes the chain and the key of cert.
func (f Files) WriteIdentity(tb testing.TB, cert *tls.Certificate) {
	tb.Helper()
	WriteFile(tb, f.Cert, CertPEM(cert))
	WriteFile(tb, f.Key, KeyPEM(tb, cert))
}

// WriteCA writes the certificates of authorities.
func (f Files) WriteCA(tb testing.TB, cas ...*CA) {
	tb.Helper()
	var data []byte
	for _, ca := range cas {
		data = append(data, ca.PEM()...)
	}
	WriteFile(tb, f.CA, data)
}

// WriteFile replaces a file, as a whole.
func WriteFile(tb testing.TB, path string, data []byte) {
	tb.Helper()
	if err := os.WriteFile(path+".new", data, 0o600); err != nil {
		tb.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		tb.Fatal(err)
	}
}
