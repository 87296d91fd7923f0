package mesh

import "net/http"

// StubHTTP has stub stand for the connections to the endpoints that requests by way of base
// have met.
func StubHTTP(m *Mesh, base *http.Transport, stub http.RoundTripper) {
	m.Transport(base).(*transport).conns.Range(func(c, _ any) bool {
		conn := c.(*endpointConn)
		p := conn.newPool()
		p.Transport = new(http.Transport)
		p.RegisterProtocol("http", stub)
		p.lines, p.shared = nil, nil
		conn.pool.Store(p)
		return true
	})
}
