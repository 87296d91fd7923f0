package security

import (
	"crypto/x509"
	"fmt"
	"strings"

	"github.com/weft-mesh/weft/internal/match"
)

// SANType is a kind of subject alternative name
// (envoy SubjectAltNameMatcher.SanType).
type SANType int

// The kinds. SANAny is for matchers without a type (envoy match_subject_alt_names).
// OTHER_NAME is not among them: a policy that asks for it cannot be honoured.
const (
	SANAny SANType = iota
	SANEmail
	SANDNS
	SANURI
	SANIPAddress
)

func (t SANType) String() string {
	switch t {
	case SANAny:
		return "any SAN"
	case SANEmail:
		return "email"
	case SANDNS:
		return "DNS"
	case SANURI:
		return "URI"
	case SANIPAddress:
		return "IP"
	default:
		return fmt.Sprintf("SANType(%d)", int(t))
	}
}

// SANMatcher accepts a certificate by one of its subject alternative names.
//
// Names are compared as text, an IP address in its canonical form. A DNS name of
// the certificate is held against an exact matcher as a host name is: ignoring
// case, and a leading "*" stands for one label.
// (envoy.extensions.transport_sockets.tls.v3.SubjectAltNameMatcher)
type SANMatcher struct {
	Type  SANType
	Value match.String
}

// matches reports whether a name of cert satisfies m.
func (m *SANMatcher) matches(cert *x509.Certificate) bool {
	for _, name := range sans(cert) {
		if m.Type != SANAny && m.Type != name.kind {
			continue
		}
		if name.kind == SANDNS && m.Value.Kind() == match.Exact {
			// A certificate of just this name, for the standard library's host
			// name rules without its other kinds of name.
			one := x509.Certificate{DNSNames: []string{name.value}}
			if one.VerifyHostname(m.Value.Value()) == nil {
				return true
			}
			continue
		}
		if m.Value.Match(name.value) {
			return true
		}
	}
	return false
}

func (m *SANMatcher) String() string {
	return fmt.Sprintf("%s %s", m.Type, &m.Value)
}

// san is one subject alternative name.
type san struct {
	kind  SANType
	value string
}

func (s san) String() string { return s.kind.String() + " " + s.value }

// sans lists the names of cert.
func sans(cert *x509.Certificate) []san {
	var all []san
	for _, v := range cert.URIs {
		all = append(all, san{SANURI, v.String()})
	}
	for _, v := range cert.DNSNames {
		all = append(all, san{SANDNS, v})
	}
	for _, v := range cert.IPAddresses {
		all = append(all, san{SANIPAddress, v.String()})
	}
	for _, v := range cert.EmailAddresses {
		all = append(all, san{SANEmail, v})
	}
	return all
}

// anyOf words a list of matchers for an error.
func anyOf(matchers []SANMatcher) string {
	words := make([]string, len(matchers))
	for i := range matchers {
		words[i] = matchers[i].String()
	}
	return strings.Join(words, " or ")
}
