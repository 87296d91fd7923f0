package security

import (
	"bytes"
	"crypto/tls"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"
)

// ParseIdentity reads a certificate chain, leaf first, and the leaf's private key
// (PKCS #8, PKCS #1 or SEC 1) from PEM data; both may be the same data. It fails
// when a block is not whole, or the key is not the leaf's.
func ParseIdentity(certPEM, keyPEM []byte) (*tls.Certificate, error) {
	if _, err := pemBlocks(certPEM); err != nil {
		return nil, fmt.Errorf("certificate: %w", err)
	}
	blocks, err := pemBlocks(keyPEM)
	if err != nil {
		return nil, fmt.Errorf("private key: %w", err)
	}
	for _, b := range blocks {
		if b.Type == "ENCRYPTED PRIVATE KEY" || strings.Contains(b.Headers["Proc-Type"], "ENCRYPTED") {
			return nil, errors.New("private key: it is encrypted with a passphrase, which is not supported")
		}
	}
	cert, err := tls.X509KeyPair(certPEM, keyPEM)
	if err != nil {
		return nil, err
	}
	return &cert, nil
}

// pemBlocks returns every block of data, whatever text stands between them. Where
// [pem.Decode] skips a block that is cut or malformed, pemBlocks fails: a file that
// is being written must not pass for a shorter one.
func pemBlocks(data []byte) ([]*pem.Block, error) {
	begun := bytes.Count(data, []byte("-----BEGIN "))
	var blocks []*pem.Block
	for {
		block, rest := pem.Decode(data)
		if block == nil {
			break
		}
		blocks, data = append(blocks, block), rest
	}
	if len(blocks) != begun {
		return nil, fmt.Errorf("%d of %d PEM blocks are cut short or malformed", begun-len(blocks), begun)
	}
	if last := data[bytes.LastIndexByte(data, '\n')+1:]; bytes.HasPrefix(last, []byte("-")) {
		return nil, fmt.Errorf("cut short in the line %q", last)
	}
	if begun == 0 {
		return nil, errors.New("no PEM block")
	}
	return blocks, nil
}
