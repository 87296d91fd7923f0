package resolver

import (
	"fmt"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"

	"github.com/weft-mesh/weft/balancer"
)

// proxyKey is the metadata that names the HTTP proxy in front of an endpoint.
const proxyKey = "envoy.http11_proxy_transport_socket.proxy_address"

// endpointVia reads how else an endpoint is reached: its further addresses and the
// proxy in front of it, which that of its locality stands in for (gRFC A86).
func endpointVia(e *endpointv3.Endpoint, metadata *corev3.Metadata, localityProxy string, names bool) (*balancer.Via, error) {
	var v balancer.Via
	for i, a := range e.GetAdditionalAddresses() {
		if names {
			break // for STATIC and EDS only
		}
		text, err := address(a.GetAddress(), false)
		if err != nil {
			return nil, fmt.Errorf("endpoint.additional_addresses[%d].address: %w", i, err)
		}
		v.Addresses = append(v.Addresses, text)
	}
	var err error
	if v.Proxy, err = metadataProxy(metadata); err != nil {
		return nil, err
	}
	if v.Proxy == "" {
		v.Proxy = localityProxy
	}
	if v.Addresses == nil && v.Proxy == "" {
		return nil, nil
	}
	return &v, nil
}

// metadataProxy returns the proxy that metadata names. An entry of another type is
// ignored.
func metadataProxy(m *corev3.Metadata) (string, error) {
	entry := m.GetTypedFilterMetadata()[proxyKey]
	if entry == nil || !entry.MessageIs((*corev3.Address)(nil)) {
		return "", nil
	}
	var a corev3.Address
	if err := entry.UnmarshalTo(&a); err != nil {
		return "", fmt.Errorf("metadata.typed_filter_metadata[%s]: %w", proxyKey, err)
	}
	text, err := address(&a, false)
	if err != nil {
		return "", fmt.Errorf("metadata.typed_filter_metadata[%s]: %w", proxyKey, err)
	}
	return text, nil
}

// scanAdditionalAddress reads an Endpoint.AdditionalAddress; the empty string if it
// gives up.
func scanAdditionalAddress(raw string) (text string) {
	w := wire{rest: raw}
	for w.next() {
		if w.field != 1 {
			return ""
		}
		a := wire{rest: w.bytes()}
		for a.next() {
			if a.field != 1 {
				return ""
			}
			text = scanSocketAddress(a.bytes())
		}
		w.bad = w.bad || a.bad
	}
	if w.bad {
		return ""
	}
	return text
}
