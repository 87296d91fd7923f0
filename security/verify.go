package security

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"
)

// verifier decides, in one handshake, whether the peer is the one asked for.
type verifier struct {
	addr  net.Addr
	roots *Bundle // nil for the system's

	// host, if not empty, is what the certificate must be for. Else one of sans
	// must match, if there are any.
	host string
	sans []SANMatcher
}

// verify is a tls.Config's VerifyConnection. Unlike VerifyPeerCertificate that runs
// for resumed sessions, too: one that was begun under roots since withdrawn ends here.
func (v *verifier) verify(state tls.ConnectionState) error {
	if len(state.PeerCertificates) == 0 {
		return v.refuse(nil, errors.New("it presented no certificate"))
	}
	leaf := state.PeerCertificates[0]
	options := x509.VerifyOptions{
		Intermediates: x509.NewCertPool(),
		KeyUsages:     []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	for _, cert := range state.PeerCertificates[1:] {
		options.Intermediates.AddCert(cert)
	}
	if v.roots != nil {
		options.Roots = v.roots.pool // a nil pool would mean the system's roots
	}
	if _, err := leaf.Verify(options); err != nil {
		return v.refuse(leaf, err)
	}
	return v.verifyName(leaf)
}

func (v *verifier) verifyName(leaf *x509.Certificate) error {
	if v.host != "" {
		if err := leaf.VerifyHostname(v.host); err != nil {
			return v.refuse(leaf, err)
		}
		return nil
	}
	if len(v.sans) == 0 {
		return nil
	}
	for i := range v.sans {
		if v.sans[i].matches(leaf) {
			return nil
		}
	}
	return v.refuse(leaf, errors.New("none of its names is an accepted one"))
}

// refuse wraps the reason for which the peer is refused.
func (v *verifier) refuse(leaf *x509.Certificate, reason error) *PeerError {
	err := &PeerError{Addr: v.addr.String(), Want: v.want(), Err: reason}
	if leaf != nil {
		for _, name := range sans(leaf) {
			err.Names = append(err.Names, name.String())
		}
	}
	return err
}

// want words what the peer was expected to be.
func (v *verifier) want() string {
	trust := "a certificate under the system's roots"
	if v.roots != nil {
		trust = fmt.Sprintf("a certificate under %d given root(s)", len(v.roots.certs))
	}
	switch {
	case v.host != "":
		return fmt.Sprintf("%s for host %q", trust, v.host)
	case len(v.sans) > 0:
		return fmt.Sprintf("%s with %s", trust, anyOf(v.sans))
	default:
		return trust
	}
}

// PeerError says that a peer is not the one that policy asks for. No data was sent
// to it.
type PeerError struct {
	// Addr is the peer's network address.
	Addr string
	// Names are the subject alternative names in its certificate, as "URI
	// spiffe://shop.example/orders". If the chain could not be verified, they are
	// no more than a claim.
	Names []string
	// Want words whom policy asks for.
	Want string
	// Err is the reason; one of crypto/x509's errors when the chain or the host
	// name is at fault.
	Err error
}

func (e *PeerError) Error() string {
	names := "no name"
	if len(e.Names) > 0 {
		names = strings.Join(e.Names, ", ")
	}
	return fmt.Sprintf("security: peer %s (%s) refused: %v; want %s", e.Addr, names, e.Err, e.Want)
}

func (e *PeerError) Unwrap() error { return e.Err }

// spiffeID is the SPIFFE ID of the peer, nil if it has none. A certificate with
// several URIs has none (SPIFFE X509-SVID, section 2).
func spiffeID(state tls.ConnectionState) *url.URL {
	if len(state.PeerCertificates) == 0 {
		return nil
	}
	uris := state.PeerCertificates[0].URIs
	if len(uris) != 1 || uris[0].Scheme != "spiffe" {
		return nil
	}
	return uris[0]
}
