package resolver

import (
	"crypto/tls"
	"errors"
	"slices"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/weft-mesh/weft/security"
)

// The fields of the TLS messages that are honoured, and those that are safe to leave
// out. Any other that is set is refused: it may be one that a connection is only
// secure with.
var (
	upstreamTLSFields = fieldNames("common_tls_context", "sni", "auto_host_sni", "auto_sni_san_validation",
		"max_session_keys",
		"allow_renegotiation", "enforce_rsa_key_usage") // Go renegotiates never, and always checks key usage
	commonTLSFields = fieldNames("tls_params", "tls_certificates", "tls_certificate_sds_secret_configs",
		"tls_certificate_provider_instance", "tls_certificate_certificate_provider_instance",
		"validation_context", "validation_context_sds_secret_config", "combined_validation_context",
		"validation_context_certificate_provider_instance", "alpn_protocols", "key_log")
	combinedFields = fieldNames("default_validation_context", "validation_context_sds_secret_config",
		"validation_context_certificate_provider_instance")
	validationFields = fieldNames("trusted_ca", "ca_certificate_provider_instance", "system_root_certs",
		"match_typed_subject_alt_names", "match_subject_alt_names",
		"allow_expired_certificate", "suppress_client_ca_list") // expired ones are refused all the same
	tlsParamsFields = fieldNames("tls_minimum_protocol_version", "tls_maximum_protocol_version", "cipher_suites",
		"ecdh_curves")
	certificateFields = fieldNames("certificate_chain", "private_key")
)

// refuseUnread returns an error for the first field, by name, that is set and not
// among read.
func (p *path) refuseUnread(m proto.Message, read fields) error {
	var first protoreflect.Name
	m.ProtoReflect().Range(func(fd protoreflect.FieldDescriptor, _ protoreflect.Value) bool {
		if n := fd.Name(); !read[n] && (first == "" || n < first) {
			first = n
		}
		return true
	})
	switch {
	case first != "":
		return p.to(string(first)).errorf("%w", ErrUnsupported)
	case len(m.ProtoReflect().GetUnknown()) > 0:
		return p.errorf("has fields unknown to this version: %w", ErrUnsupported)
	}
	return nil
}

// clientTLS compiles an UpstreamTlsContext (gRFC A29). Certificates come from the
// bootstrap's certificate providers, which SDS secrets are looked up among too, or
// stand inline.
func (p *path) clientTLS(m *tlsv3.UpstreamTlsContext) (*security.ClientTLS, error) {
	if err := p.refuseUnread(m, upstreamTLSFields); err != nil {
		return nil, err
	}
	c := security.ClientTLSConfig{
		SNI:         m.GetSni(),
		AutoSNI:     m.GetAutoHostSni(),
		AutoSAN:     m.GetAutoSniSanValidation(),
		SessionKeys: 1, // Envoy's default
	}
	if k := m.GetMaxSessionKeys(); k != nil {
		c.SessionKeys = int(min(k.GetValue(), maxSessionKeys))
	}
	common, q := m.GetCommonTlsContext(), p.to("common_tls_context")
	if common == nil {
		return nil, q.errorf("is required: there is nothing to verify the server with")
	}
	if err := q.refuseUnread(common, commonTLSFields); err != nil {
		return nil, err
	}
	for _, read := range []func(*tlsv3.CommonTlsContext, *security.ClientTLSConfig) error{
		q.tlsParams, q.identity, q.validation,
	} {
		if err := read(common, &c); err != nil {
			return nil, err
		}
	}
	// The names of protocols that only a proxy speaks are not for us to offer. By
	// "istio", the server is of Istio's mesh.
	for _, protocol := range common.GetAlpnProtocols() {
		switch protocol {
		case "h2", "http/1.1":
			c.ALPN = append(c.ALPN, protocol)
		case "istio":
			c.IstioALPN = true
		}
	}
	t, err := security.NewClientTLS(c)
	if err != nil {
		return nil, q.errorf("%w", err)
	}
	return t, nil
}

const maxSessionKeys = 1024

var tlsVersions = map[tlsv3.TlsParameters_TlsProtocol]uint16{
	tlsv3.TlsParameters_TLS_AUTO: 0,
	tlsv3.TlsParameters_TLSv1_0:  tls.VersionTLS10,
	tlsv3.TlsParameters_TLSv1_1:  tls.VersionTLS11,
	tlsv3.TlsParameters_TLSv1_2:  tls.VersionTLS12,
	tlsv3.TlsParameters_TLSv1_3:  tls.VersionTLS13,
}

func (p *path) tlsParams(m *tlsv3.CommonTlsContext, c *security.ClientTLSConfig) error {
	params, q := m.GetTlsParams(), p.to("tls_params")
	if params == nil {
		return nil
	}
	if err := q.refuseUnread(params, tlsParamsFields); err != nil {
		return err
	}
	var ok bool
	if c.MinVersion, ok = tlsVersions[params.GetTlsMinimumProtocolVersion()]; !ok {
		return q.to("tls_minimum_protocol_version").errorf("unknown value %d", params.GetTlsMinimumProtocolVersion())
	}
	if c.MaxVersion, ok = tlsVersions[params.GetTlsMaximumProtocolVersion()]; !ok {
		return q.to("tls_maximum_protocol_version").errorf("unknown value %d", params.GetTlsMaximumProtocolVersion())
	}
	var err error
	if c.CipherSuites, err = security.ParseCipherSuites(params.GetCipherSuites()); err != nil {
		return q.to("cipher_suites").errorf("%w", err)
	}
	if c.Curves, err = security.ParseCurves(params.GetEcdhCurves()); err != nil {
		return q.to("ecdh_curves").errorf("%w", err)
	}
	return nil
}

// identity reads the certificate that the client presents, if any.
func (p *path) identity(m *tlsv3.CommonTlsContext, c *security.ClientTLSConfig) (err error) {
	q := p
	switch sds := m.GetTlsCertificateSdsSecretConfigs(); {
	case m.GetTlsCertificateProviderInstance() != nil:
		q = p.to("tls_certificate_provider_instance")
		c.Identity, err = p.decoder.identity(m.GetTlsCertificateProviderInstance().GetInstanceName())
	case m.GetTlsCertificateCertificateProviderInstance() != nil:
		q = p.to("tls_certificate_certificate_provider_instance")
		c.Identity, err = p.decoder.identity(m.GetTlsCertificateCertificateProviderInstance().GetInstanceName())
	case len(sds)+len(m.GetTlsCertificates()) > 1:
		err = errors.New("more than one client certificate")
	case len(sds) == 1:
		q = p.at("tls_certificate_sds_secret_configs", 0)
		c.Identity, err = p.decoder.identity(sds[0].GetName())
	case len(m.GetTlsCertificates()) == 1:
		q = p.at("tls_certificates", 0)
		c.Identity, err = q.inlineIdentity(m.GetTlsCertificates()[0])
	}
	if err != nil {
		return q.errorf("%w", err)
	}
	return nil
}

func (p *path) inlineIdentity(m *tlsv3.TlsCertificate) (security.IdentitySource, error) {
	if err := p.refuseUnread(m, certificateFields); err != nil {
		return nil, err
	}
	chain, err := inline(m.GetCertificateChain())
	if err != nil {
		return nil, err
	}
	key, err := inline(m.GetPrivateKey())
	if err != nil {
		return nil, err
	}
	cert, err := security.ParseIdentity(chain, key)
	if err != nil {
		return nil, err
	}
	return security.StaticIdentity(cert), nil
}

// validation reads what the server's certificate must be.
func (p *path) validation(m *tlsv3.CommonTlsContext, c *security.ClientTLSConfig) error {
	switch v := m.GetValidationContextType().(type) {
	case nil:
		return p.errorf("there is no validation context to verify the server with")
	case *tlsv3.CommonTlsContext_ValidationContext:
		return p.to("validation_context").validationContext(v.ValidationContext, c)
	case *tlsv3.CommonTlsContext_ValidationContextSdsSecretConfig:
		return p.to("validation_context_sds_secret_config").roots(v.ValidationContextSdsSecretConfig.GetName(), c)
	case *tlsv3.CommonTlsContext_ValidationContextCertificateProviderInstance:
		return p.to("validation_context_certificate_provider_instance").
			roots(v.ValidationContextCertificateProviderInstance.GetInstanceName(), c)
	case *tlsv3.CommonTlsContext_CombinedValidationContext:
		combined, q := v.CombinedValidationContext, p.to("combined_validation_context")
		if err := q.refuseUnread(combined, combinedFields); err != nil {
			return err
		}
		if d := combined.GetDefaultValidationContext(); d != nil {
			if err := q.to("default_validation_context").validationContext(d, c); err != nil {
				return err
			}
		}
		// What is fetched stands above the default.
		if s := combined.GetValidationContextSdsSecretConfig(); s != nil {
			return q.to("validation_context_sds_secret_config").roots(s.GetName(), c)
		}
		if i := combined.GetValidationContextCertificateProviderInstance(); i != nil && c.Roots == nil {
			return q.to("validation_context_certificate_provider_instance").roots(i.GetInstanceName(), c)
		}
		return nil
	default:
		return p.errorf("%w: validation context of kind %T", ErrUnsupported, v)
	}
}

func (p *path) roots(instance string, c *security.ClientTLSConfig) error {
	roots, err := p.decoder.roots(instance)
	if err != nil {
		return p.errorf("%w", err)
	}
	c.Roots, c.SystemRoots = roots, false
	return nil
}

var sanTypes = map[tlsv3.SubjectAltNameMatcher_SanType]security.SANType{
	tlsv3.SubjectAltNameMatcher_EMAIL:      security.SANEmail,
	tlsv3.SubjectAltNameMatcher_DNS:        security.SANDNS,
	tlsv3.SubjectAltNameMatcher_URI:        security.SANURI,
	tlsv3.SubjectAltNameMatcher_IP_ADDRESS: security.SANIPAddress,
}

func (p *path) validationContext(v *tlsv3.CertificateValidationContext, c *security.ClientTLSConfig) error {
	if err := p.refuseUnread(v, validationFields); err != nil {
		return err
	}
	for i, m := range v.GetMatchTypedSubjectAltNames() {
		q := p.at("match_typed_subject_alt_names", i)
		kind, ok := sanTypes[m.GetSanType()]
		if !ok {
			return q.to("san_type").errorf("%s: %w", m.GetSanType(), ErrUnsupported)
		}
		if err := q.to("matcher").san(kind, m.GetMatcher(), c); err != nil {
			return err
		}
	}
	if len(v.GetMatchTypedSubjectAltNames()) == 0 { // else they take its place
		for i, m := range v.GetMatchSubjectAltNames() {
			if err := p.at("match_subject_alt_names", i).san(security.SANAny, m, c); err != nil {
				return err
			}
		}
	}
	switch {
	case v.GetCaCertificateProviderInstance() != nil:
		return p.to("ca_certificate_provider_instance").roots(v.GetCaCertificateProviderInstance().GetInstanceName(), c)
	case v.GetTrustedCa() != nil:
		q := p.to("trusted_ca")
		pem, err := inline(v.GetTrustedCa())
		if err != nil {
			return q.errorf("%w", err)
		}
		bundle, err := security.ParseBundle(pem)
		if err != nil {
			return q.errorf("%w", err)
		}
		c.Roots = bundle
	case v.GetSystemRootCerts() != nil:
		c.SystemRoots = true
	}
	return nil
}

func (p *path) san(kind security.SANType, m *matcherv3.StringMatcher, c *security.ClientTLSConfig) error {
	value, err := p.stringMatcher(m)
	if err != nil {
		return err
	}
	c.SANs = append(slices.Clip(c.SANs), security.SANMatcher{Type: kind, Value: value})
	return nil
}

// inline returns the data that stands in policy itself. Policy does not get to name
// files of this machine.
func inline(d *corev3.DataSource) ([]byte, error) {
	switch s := d.GetSpecifier().(type) {
	case *corev3.DataSource_InlineBytes:
		return s.InlineBytes, nil
	case *corev3.DataSource_InlineString:
		return []byte(s.InlineString), nil
	default:
		return nil, errors.New("must be inline (inline_bytes or inline_string), or come from a certificate provider")
	}
}

var errNoProviders = errors.New("there are no certificate providers: the bootstrap has none")

func (d *decoder) identity(instance string) (security.IdentitySource, error) {
	if d.config.Providers == nil {
		return nil, errNoProviders
	}
	return d.config.Providers.Identity(instance)
}

func (d *decoder) roots(instance string) (security.RootSource, error) {
	if d.config.Providers == nil {
		return nil, errNoProviders
	}
	return d.config.Providers.Roots(instance)
}
