package main

import (
	"context"
	"io"
	"net/http"
	"sync/atomic"

	"github.com/bufbuild/httplb"
	"github.com/bufbuild/httplb/resolver"

	"github.com/weft-mesh/weft/mesh"
)

var (
	http1Paths = []path{
		bareHTTP("bare http.Client, over 3 in turn", backends, newTransport),
		control(bareHTTP("", backends, newTransport)),
		leastHTTP(newTransport),
		bareHTTP("bare http.Client, over 1", 1, newTransport),
		httplbPath("http"),
		weftHTTP("Weft, 1 route", target("http", 1)),
		weftHTTP("Weft, 100 routes", target("http", 100)),
		weftHTTP("Weft, 1,000 routes", target("http", 1000)),
	}
	h2cGetPaths = []path{
		getting(bareHTTP("bare http.Client, over 3 in turn", backends, newH2CTransport)),
		getting(weftHTTP("Weft, 100 routes", target("h2c", 100))),
	}
	h2cPaths = []path{
		bareHTTP("bare http.Client, over 3 in turn", backends, newH2CTransport),
		control(bareHTTP("", backends, newH2CTransport)),
		leastHTTP(newH2CTransport),
		bareHTTP("bare http.Client, over 1", 1, newH2CTransport),
		httplbPath("h2c"),
		weftHTTP("Weft, 100 routes", target("h2c", 100)),
	}
)

// newTransport keeps every connection that the callers need at one time:
// http.DefaultTransport keeps two for each host, and would make a new one for most
// calls.
func newTransport() *http.Transport { return &http.Transport{MaxIdleConnsPerHost: 1000} }

func newH2CTransport() *http.Transport {
	t := newTransport()
	t.Protocols = new(http.Protocols)
	t.Protocols.SetUnencryptedHTTP2(true)
	return t
}

// getting is a path over HTTP whose requests have no body.
func getting(of path) path {
	return path{of.name, func(s *servers, m *mesh.Mesh) (client, error) {
		c, err := of.open(s, m)
		if err != nil {
			return nil, err
		}
		e := c.(exchange)
		e.method = http.MethodGet
		return e, nil
	}}
}

// bareHTTP calls so many backends in turn, as a program would that knows them.
func bareHTTP(name string, n int, newTransport func() *http.Transport) path {
	return overHTTP(name, n, newTransport, func(t *http.Transport) http.RoundTripper { return t })
}

// overHTTP is bareHTTP through what wraps its transport.
func overHTTP(name string, n int, newTransport func() *http.Transport, wrap func(*http.Transport) http.RoundTripper) path {
	return path{name, func(s *servers, _ *mesh.Mesh) (client, error) {
		var urls []string
		for _, a := range s.HTTP[:n] {
			urls = append(urls, "http://"+a+echoPath)
		}
		var turn atomic.Uint64
		t := newTransport()
		return exchange{
			method: http.MethodPost,
			client: &http.Client{Transport: wrap(t)},
			next:   func() string { return urls[turn.Add(1)%uint64(len(urls))] },
			closed: t.CloseIdleConnections,
		}, nil
	}}
}

func httplbPath(scheme string) path {
	return path{"httplb over 3", func(s *servers, _ *mesh.Mesh) (client, error) {
		c := httplb.NewClient(httplb.WithResolver(staticResolver(s.HTTP)), httplb.WithNoProxy())
		url := scheme + "://bench" + echoPath
		return exchange{
			method: http.MethodPost,
			client: c.Client,
			next:   func() string { return url },
			closed: func() { _ = c.Close() },
		}, nil
	}}
}

// staticResolver gives httplb the backends' addresses.
type staticResolver []string

func (r staticResolver) New(_ context.Context, _, _ string, receiver resolver.Receiver, _ <-chan struct{}) io.Closer {
	var list []resolver.Address
	for _, a := range r {
		list = append(list, resolver.Address{HostPort: a})
	}
	receiver.OnResolve(list)
	return io.NopCloser(nil)
}

func weftHTTP(name, target string) path {
	return path{name, func(_ *servers, m *mesh.Mesh) (client, error) {
		url := "http://" + target + echoPath
		t := newTransport()
		c := &http.Client{Transport: m.Transport(t)}
		return exchange{
			method: http.MethodPost,
			client: c,
			next:   func() string { return url },
			closed: c.CloseIdleConnections,
		}, nil
	}}
}
