package healthcheck

import (
	"bytes"
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"

	"github.com/weft-mesh/weft/balancer"
)

// maxDrain is how much of a body is read so that its connection can be used again.
const maxDrain = 64 << 10

// maxConns is more than a prober uses at a time: one, and late ones of probes that ended.
const maxConns = 4

// The headers by which an endpoint says more than a status.
const (
	immediateFailHeader  = "X-Envoy-Immediate-Health-Check-Fail"
	degradedHeader       = "X-Envoy-Degraded"
	checkedClusterHeader = "X-Envoy-Upstream-Healthchecked-Cluster"
)

// httpProber sends the request of an HTTPCheck.
type httpProber struct {
	check     *balancer.HTTPCheck
	transport *http.Transport
	request   *http.Request

	mu     sync.Mutex // the transport dials when it likes to
	conns  []net.Conn // the newest, of which some may be closed
	closed bool
}

func newHTTP(t balancer.CheckTarget) *httpProber {
	check := t.Check.HTTP
	alpn := "http/1.1"
	transport := &http.Transport{
		DisableKeepAlives:   t.Check.Reconnect,
		DisableCompression:  true,
		MaxIdleConnsPerHost: 1,
	}
	if check.HTTP2 {
		alpn = "h2"
		transport.Protocols = new(http.Protocols)
		transport.Protocols.SetHTTP2(true)
		transport.Protocols.SetUnencryptedHTTP2(true)
	}
	p := &httpProber{check: check, transport: transport}
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		conn, err := t.Dial(ctx, alpn)
		if err == nil {
			err = p.opened(conn)
		}
		if s, ok := conn.(*tls.Conn); ok && check.HTTP2 && s.ConnectionState().NegotiatedProtocol != "h2" {
			return struct{ net.Conn }{conn}, err // HTTP/2 is spoken whatever was agreed on
		}
		return conn, err
	}
	transport.DialContext = dial
	scheme := "http"
	if t.Secure {
		scheme = "https"
		transport.DialTLSContext = dial
	}
	path, query, _ := strings.Cut(check.Path, "?")
	r := &http.Request{
		Method: check.Method,
		URL:    &url.URL{Scheme: scheme, Host: t.Host, Path: path, RawPath: path, RawQuery: query},
		Host:   t.Host,
		Header: http.Header{"User-Agent": {userAgent}},
	}
	if p, err := url.PathUnescape(path); err == nil {
		r.URL.Path = p // and RawPath as it was written
	}
	// Removed first, as Envoy does it.
	for _, name := range check.WithoutHeaders {
		r.Header.Del(name)
		if strings.EqualFold(name, "User-Agent") {
			r.Header["User-Agent"] = []string{""} // net/http would send its own
		}
	}
	for _, h := range check.Headers {
		switch {
		case strings.EqualFold(h.Name, "Host"), h.Name == ":authority":
			r.Host = h.Value
		case h.Append:
			r.Header.Add(h.Name, h.Value)
		default:
			r.Header.Set(h.Name, h.Value)
		}
	}
	p.request = r
	return p
}

// Probe implements balancer.Prober.
func (p *httpProber) Probe(ctx context.Context) balancer.Verdict {
	r := p.request.Clone(ctx)
	if len(p.check.Send) > 0 {
		r.Body = io.NopCloser(bytes.NewReader(p.check.Send))
		r.ContentLength = int64(len(p.check.Send))
		r.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(p.check.Send)), nil }
	}
	resp, err := p.transport.RoundTrip(r)
	if err != nil {
		p.hangUp()
		return balancer.Unreachable
	}
	defer resp.Body.Close()
	body, err := p.read(resp.Body)
	if err != nil {
		p.hangUp()
		return balancer.Unreachable
	}
	return p.judge(resp, body)
}

// read reads what is asked of a body, and drains the rest.
func (p *httpProber) read(from io.Reader) (body []byte, err error) {
	if len(p.check.Receive) > 0 {
		if body, err = io.ReadAll(io.LimitReader(from, p.check.MaxBody)); err != nil {
			return nil, err
		}
	}
	_, err = io.Copy(io.Discard, io.LimitReader(from, maxDrain))
	return body, err
}

// judge is Envoy's healthCheckResult.
func (p *httpProber) judge(resp *http.Response, body []byte) balancer.Verdict {
	refused := balancer.Refused
	if _, ok := resp.Header[immediateFailHeader]; ok {
		refused = balancer.RefusedUncounted
	}
	switch {
	case !found(p.check.Receive, body):
		return refused
	case !within(p.check.Expected, resp.StatusCode):
		if within(p.check.Retriable, resp.StatusCode) {
			return balancer.RefusedForNow
		}
		return refused
	case p.check.Service != nil && !p.check.Service.Match(resp.Header.Get(checkedClusterHeader)):
		return balancer.Refused
	}
	if _, ok := resp.Header[degradedHeader]; ok {
		return balancer.PassedDegraded
	}
	return balancer.Passed
}

func within(ranges []balancer.StatusRange, status int) bool {
	for _, r := range ranges {
		if r.Start <= status && status < r.End {
			return true
		}
	}
	return false
}

// opened notes a new connection.
func (p *httpProber) opened(conn net.Conn) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		_ = conn.Close()
		return net.ErrClosed
	}
	if len(p.conns) == maxConns {
		_ = p.conns[0].Close()
		p.conns = append(p.conns[:0], p.conns[1:]...)
	}
	p.conns = append(p.conns, conn)
	return nil
}

// hangUp closes the connections. An HTTP/2 transport would keep one whose peer is
// silent.
func (p *httpProber) hangUp() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, conn := range p.conns {
		_ = conn.Close()
	}
	p.conns = nil
}

// Close implements balancer.Prober.
func (p *httpProber) Close() {
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	p.hangUp()
	p.transport.CloseIdleConnections()
}
