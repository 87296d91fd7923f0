package mesh

import (
	"cmp"
	"fmt"
	"net/http"

	"github.com/weft-mesh/weft/balancer"
)

// aim returns the request in the form in which its http.Transport is to see it. A
// transport has connections for each scheme and host of URLs:
//
//   - where connections are counted, all requests have one host, the endpoint;
//   - where TLS settles on a version of HTTP, they are https, as only then does net/http
//     look at what TLS settled on.
//
// An https URL that policy does not secure stays as it is: TLS is for its host.
func (p *pool) aim(e *balancer.Endpoint, req *http.Request) *http.Request {
	if !p.aims {
		return req
	}
	return p.aimed(e, req)
}

func (p *pool) aimed(e *balancer.Endpoint, req *http.Request) *http.Request {
	if req.URL.Scheme == "https" && e.Socket().TLS == nil {
		return req
	}
	r, u := *req, *req.URL
	r.Host = cmp.Or(r.Host, u.Host)
	if e.Pooled() {
		u.Host = e.Address()
	}
	if p.settles {
		u.Scheme = "https"
	}
	r.URL = &u
	return &r
}

// settle has p speak what TLS says by ALPN (envoy auto_config), if the endpoint's cluster
// asks for it.
func (p *pool) settle(e *balancer.Endpoint) {
	if e.Cluster().Config().Protocol != balancer.ProtocolAuto || e.Socket().TLS == nil || e.OriginalDst() != nil {
		return
	}
	p.settles = true
	p.alpn = []string{"h2", "http/1.1"}
	p.Protocols = new(http.Protocols)
	p.Protocols.SetHTTP1(true)
	p.Protocols.SetHTTP2(true)
}

// checkSettled refuses what TLS settled on if net/http would not know it.
func checkSettled(protocol string) error {
	switch protocol {
	case "", "h2", "http/1.1", "istio-http/1.1", "istio-http/1.0", "istio":
		return nil
	}
	return fmt.Errorf("weft: TLS settled on %q, which is neither HTTP/1.1 nor HTTP/2", protocol)
}
