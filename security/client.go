package security

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"slices"
	"sync/atomic"
)

// ClientTLSConfig is how a cluster's connections are secured: the plain form of
// envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext, read as gRFC A29,
// A82 and A101 say.
type ClientTLSConfig struct {
	// Identity gives the certificate to present (mTLS). Nil presents none; a peer
	// that asks for one then refuses the connection.
	Identity IdentitySource

	// Roots gives the authorities that the peer must chain to. Exactly one of
	// Roots and SystemRoots must be set.
	Roots RootSource

	// SystemRoots trusts what the operating system trusts (gRFC A82). Any site on
	// the internet can have such a certificate, so that the peer's name is then
	// always checked: by SANs if there are any, else as by AutoSAN. A82 leaves
	// that to policy; there is no use in which leaving it out is secure.
	SystemRoots bool

	// SANs accept the peer: one of them must match one of the names in its
	// certificate. With Roots and no SANs (nor AutoSAN) every certificate that
	// chains to the roots is accepted, as in Envoy and in gRFC A29: the roots are
	// the mesh's own, and which of its workloads may answer is policy's to say.
	SANs []SANMatcher

	// SNI is the server name to send. Empty sends none (gRFC A101). At most 255 bytes.
	SNI string

	// AutoSNI sends the endpoint's own host name where that is known, in place of
	// SNI (envoy auto_host_sni).
	AutoSNI bool

	// AutoSAN, where a server name is sent, has the peer's certificate be for that
	// name, in place of SANs (envoy auto_sni_san_validation, gRFC A101): a DNS name
	// by the rules of host names, an IP address as an IP address. (It cannot be
	// sent as SNI, but is checked all the same.) Where none is sent, SANs decide;
	// if there are none either, the handshake fails.
	AutoSAN bool

	// ALPN are the protocols to offer in place of those that the caller of
	// Handshake would, in order of preference. Istio's "istio-peer-exchange" is
	// left out of them: a sidecar that agrees on it begins the connection with a
	// message of its own, which no HTTP client understands.
	ALPN []string

	// IstioALPN says that the peer may be a sidecar of Istio. It tells the mesh's
	// own TLS, which it ends, from that of an application, which it passes on, by
	// protocols with names of Istio's; those of the protocols to offer are put
	// before them: "istio-h2", "istio", "h2" (the rule of Istio's ALPN filter).
	IstioALPN bool

	// MinVersion and MaxVersion bound the TLS version, as [tls.VersionTLS12] and
	// its like. Zero means TLS 1.2 and the newest. A lower MinVersion is raised to
	// TLS 1.2 (RFC 8996); a lower MaxVersion is an error.
	MinVersion, MaxVersion uint16

	// CipherSuites are allowed in TLS 1.2, see ParseCipherSuites; TLS 1.3 has no
	// choice. Empty means Go's default.
	CipherSuites []uint16

	// Curves are the key exchange groups, see ParseCurves. Empty means Go's
	// default, which prefers the post-quantum hybrid X25519MLKEM768 (gRFC A120).
	Curves []tls.CurveID

	// SessionKeys is how many sessions to keep for resumption (envoy
	// max_session_keys). Zero keeps none. A resumed session is verified like a new
	// one, and none outlives the certificates that it was made with.
	SessionKeys int
}

// ClientTLS secures the connections of one cluster. It is made by NewClientTLS; the
// zero value has no roots and refuses every connection. It is immutable, and safe
// for concurrent use.
type ClientTLS struct {
	config ClientTLSConfig

	// template is what is derived from the newest certificates.
	template atomic.Pointer[clientTemplate]
}

// clientTemplate is what all handshakes with the same certificates share.
type clientTemplate struct {
	identity *tls.Certificate // nil without an IdentitySource
	roots    *Bundle          // nil for the system's
	config   *tls.Config
}

// NewClientTLS checks config, which must not be changed afterwards, and returns its
// ClientTLS. The sources are not asked yet.
func NewClientTLS(config ClientTLSConfig) (*ClientTLS, error) {
	if config.Roots == nil && !config.SystemRoots {
		return nil, errNoRoots
	}
	if config.Roots != nil && config.SystemRoots {
		return nil, errors.New("security: both a root source and the system's roots are given")
	}
	if len(config.SNI) > 255 {
		return nil, fmt.Errorf("security: SNI is %d bytes long, more than 255", len(config.SNI))
	}
	for _, m := range config.SANs {
		if m.Type < SANAny || m.Type > SANIPAddress {
			return nil, fmt.Errorf("security: unknown SAN type %d", m.Type)
		}
	}
	if slices.Contains(config.ALPN, "") {
		return nil, errors.New("security: empty ALPN protocol name")
	}
	config.ALPN = slices.DeleteFunc(slices.Clone(config.ALPN), func(p string) bool { return p == "istio-peer-exchange" })
	config.MinVersion = max(config.MinVersion, tls.VersionTLS12)
	if config.MaxVersion != 0 && config.MaxVersion < config.MinVersion {
		return nil, fmt.Errorf("security: at most %s is allowed, but at least %s is needed",
			tls.VersionName(config.MaxVersion), tls.VersionName(config.MinVersion))
	}
	return &ClientTLS{config: config}, nil
}

var errNoRoots = errors.New("security: no root certificates to verify the server with")

// Handshake secures conn as a client and returns it as a *tls.Conn.
//
// serverName is what the endpoint calls itself, a host name or IP address without
// port, empty if it has no name; what becomes of it, AutoSNI says. alpn are the
// protocols that the caller can speak, in order of preference; policy's ALPN takes
// their place. Which one was agreed on, if any, the connection's state tells: a peer
// that does not know ALPN is not an error.
//
// When ctx ends first, the handshake fails. On any error conn is closed. The error
// is a *SourceError if there was no certificate to work with and a *PeerError if
// the peer is not to be trusted. A peer that refuses our certificate may, in TLS
// 1.3, say so only on the first read.
func (c *ClientTLS) Handshake(ctx context.Context, conn net.Conn, serverName string, alpn []string) (net.Conn, error) {
	config, err := c.handshakeConfig(ctx, conn.RemoteAddr(), serverName, alpn)
	if err != nil {
		conn.Close()
		return nil, err
	}
	secured := tls.Client(conn, config)
	if err := secured.HandshakeContext(ctx); err != nil {
		conn.Close()
		return nil, fmt.Errorf("security: TLS handshake with %s: %w", conn.RemoteAddr(), err)
	}
	return secured, nil
}

// handshakeConfig is the configuration of one handshake.
func (c *ClientTLS) handshakeConfig(ctx context.Context, addr net.Addr, serverName string, alpn []string) (*tls.Config, error) {
	t, err := c.currentTemplate(ctx)
	if err != nil {
		return nil, err
	}
	sni := c.config.SNI
	if c.config.AutoSNI && serverName != "" {
		sni = serverName
	}
	v := verifier{addr: addr, roots: t.roots, sans: c.config.SANs}
	if c.config.AutoSAN && sni != "" {
		v.host = sni
	} else if c.config.SystemRoots && len(v.sans) == 0 {
		v.host = cmp.Or(sni, serverName)
	}
	if v.host == "" && len(v.sans) == 0 && (c.config.AutoSAN || c.config.SystemRoots) {
		return nil, fmt.Errorf("security: no server name to verify %s by: policy has neither a server name (SNI) nor SANs, and the endpoint has no host name", addr)
	}
	config := t.config.Clone()
	config.ServerName = sni
	config.VerifyConnection = v.verify
	config.NextProtos = alpn
	if len(c.config.ALPN) > 0 {
		config.NextProtos = c.config.ALPN
	}
	if c.config.IstioALPN {
		config.NextProtos = istioProtocols(config.NextProtos)
	}
	return config, nil
}

// istioProtocols puts Istio's names of protocols before them.
func istioProtocols(protocols []string) []string {
	var all []string
	for _, p := range protocols {
		all = append(all, "istio-"+p)
	}
	return append(append(all, "istio"), protocols...)
}

// currentTemplate asks the sources, and derives a template if they gave something new.
func (c *ClientTLS) currentTemplate(ctx context.Context) (*clientTemplate, error) {
	identity, err := c.identity(ctx)
	if err != nil {
		return nil, &SourceError{What: "identity", Err: err}
	}
	roots, err := c.roots(ctx)
	if err != nil {
		return nil, &SourceError{What: "roots", Err: err}
	}
	t := c.template.Load()
	if t != nil && t.identity == identity && t.roots == roots {
		return t, nil
	}
	t = &clientTemplate{identity: identity, roots: roots, config: c.baseConfig(identity)}
	c.template.Store(t)
	return t, nil
}

// baseConfig holds what does not depend on the endpoint.
func (c *ClientTLS) baseConfig(identity *tls.Certificate) *tls.Config {
	config := &tls.Config{
		// Go's own verification cannot leave out the host name, which a SPIFFE
		// certificate does not have. The verifier does all of it instead.
		InsecureSkipVerify: true,
		MinVersion:         c.config.MinVersion,
		MaxVersion:         c.config.MaxVersion,
		CipherSuites:       c.config.CipherSuites,
		CurvePreferences:   c.config.Curves,
	}
	if identity != nil {
		// Certificates would be passed over when the peer's list of acceptable
		// authorities is out of date, and the peer then see none at all.
		config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			return identity, nil
		}
	}
	if c.config.SessionKeys > 0 {
		config.ClientSessionCache = tls.NewLRUClientSessionCache(c.config.SessionKeys)
	}
	return config
}

// identity returns nil if there is no identity to present.
func (c *ClientTLS) identity(ctx context.Context) (*tls.Certificate, error) {
	if c.config.Identity == nil {
		return nil, nil
	}
	cert, err := c.config.Identity.Identity(ctx)
	if err == nil && (cert == nil || len(cert.Certificate) == 0) {
		err = errors.New("the source gave no certificate")
	}
	return cert, err
}

// roots returns nil for the system's roots, and only if those were asked for.
func (c *ClientTLS) roots(ctx context.Context) (*Bundle, error) {
	if c.config.SystemRoots {
		return nil, nil
	}
	if c.config.Roots == nil {
		return nil, errNoRoots
	}
	roots, err := c.config.Roots.Roots(ctx)
	if err == nil && (roots == nil || len(roots.certs) == 0) {
		err = errors.New("the source gave no root certificate")
	}
	return roots, err
}
