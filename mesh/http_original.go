package mesh

import (
	"net"
	"net/http"
	"net/netip"
	"strconv"

	"github.com/weft-mesh/weft/balancer"
)

// readdress has a request to an ORIGINAL_DST cluster go to the address that a header
// or the cluster's port override says, instead of where its URL does. What the request
// names as its host stays.
func readdress(req *http.Request, to *balancer.OriginalDst) *http.Request {
	if to.Header == "" && to.Port == 0 {
		return req
	}
	address := hostPort(req)
	if to.Header != "" {
		if named, err := netip.ParseAddrPort(req.Header.Get(to.Header)); err == nil {
			address = named.String()
		}
	}
	if to.Port != 0 {
		host, _, err := net.SplitHostPort(address)
		if err != nil {
			return req // which fails: its URL has no host
		}
		address = net.JoinHostPort(host, strconv.Itoa(int(to.Port)))
	}
	r, u := *req, *req.URL
	if r.Host == "" {
		r.Host = u.Host
	}
	u.Host = address
	r.URL = &u
	return &r
}

// hostPort is where the request's URL leads.
func hostPort(req *http.Request) string {
	port := req.URL.Port()
	if port == "" {
		port = "80"
		if req.URL.Scheme == "https" {
			port = "443"
		}
	}
	return net.JoinHostPort(req.URL.Hostname(), port)
}
