package security

import (
	"context"
	"crypto/tls"
	"fmt"
)

// IdentitySource gives the certificate that this process presents to its peers.
//
// Identity is called for each handshake, from any goroutine, and must return
// quickly once there is a certificate; until then it may wait, as long as ctx
// allows. The certificate's PrivateKey is a [crypto.Signer]: the key itself may
// live in hardware. What is returned is immutable, and the same pointer means the
// same certificate, so that what is derived from it can be kept.
type IdentitySource interface {
	Identity(ctx context.Context) (*tls.Certificate, error)
}

// RootSource gives the authorities that a peer's certificate must chain to. Roots
// is called as IdentitySource's Identity is, and returns a Bundle that is not empty.
type RootSource interface {
	Roots(ctx context.Context) (*Bundle, error)
}

// StaticIdentity is an IdentitySource of one certificate that never changes.
func StaticIdentity(cert *tls.Certificate) IdentitySource {
	return staticIdentity{cert}
}

type staticIdentity struct{ cert *tls.Certificate }

func (s staticIdentity) Identity(context.Context) (*tls.Certificate, error) {
	return s.cert, nil
}

// SourceError says that a connection was not made because a certificate source had
// nothing to give. It fails that attempt only: the source may recover.
type SourceError struct {
	// What the source was to give: "identity" or "roots".
	What string
	Err  error
}

func (e *SourceError) Error() string {
	return fmt.Sprintf("security: no %s to connect with: %v", e.What, e.Err)
}

func (e *SourceError) Unwrap() error { return e.Err }
