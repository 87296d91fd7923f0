package mesh_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"testing"

	"github.com/weft-mesh/weft/mesh"
	"github.com/weft-mesh/weft/mesh/meshtest"
)

// BenchmarkHTTPCall is what a call costs beside its connection, by a policy that has
// everything and nothing to do: what weft takes longer than bare is the mesh's share.
func BenchmarkHTTPCall(b *testing.B) {
	for _, protocol := range []string{"http", "http2"} {
		bare := &http.Transport{}
		bare.RegisterProtocol("http", stubTransport{})
		b.Run(protocol+"/bare", func(b *testing.B) { benchmarkCalls(b, bare) })
		b.Run(protocol+"/weft", func(b *testing.B) {
			m, err := mesh.New(mesh.WithPolicy(idlePolicy(b, protocol)), mesh.WithLogger(slog.New(slog.DiscardHandler)))
			if err != nil {
				b.Fatal(err)
			}
			defer func() { _ = m.Close(context.Background()) }()
			base := &http.Transport{}
			if err := newCaller(b, m.Transport(base))(); err != nil { // meets the endpoints
				b.Fatal(err)
			}
			m.Transport(base).(interface{ CloseIdleConnections() }).CloseIdleConnections()
			mesh.StubHTTP(m, base, stubTransport{})
			benchmarkCalls(b, m.Transport(base))
		})
	}
}

func benchmarkCalls(b *testing.B, rt http.RoundTripper) {
	call := newCaller(b, rt)
	b.ReportAllocs()
	for b.Loop() {
		if err := call(); err != nil {
			b.Fatal(err)
		}
	}
}

// newCaller returns a function that sends a request with a body, again and again the same.
func newCaller(b *testing.B, rt http.RoundTripper) func() error {
	req, err := http.NewRequestWithContext(b.Context(), http.MethodPost, "http://orders/shop.Orders/Get", bytes.NewReader(nil))
	if err != nil {
		b.Fatal(err)
	}
	payload, buf := make([]byte, 100), make([]byte, 512)
	body := bytes.NewReader(nil)
	req.Body, req.ContentLength = io.NopCloser(body), int64(len(payload))
	req.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(payload)), nil }
	return func() error {
		body.Reset(payload)
		resp, err := rt.RoundTrip(req)
		for err == nil {
			_, err = resp.Body.Read(buf)
		}
		if errors.Is(err, io.EOF) {
			err = resp.Body.Close()
		}
		return err
	}
}

// idlePolicy has a hundred routes, and all that guards calls.
func idlePolicy(b *testing.B, protocol string) []byte {
	var s strings.Builder
	fmt.Fprintf(&s, `
services:
  nowhere: {endpoints: []}
  orders: {protocol: %s, balance: {policy: round_robin}, limits: {maxRequests: 10000, retryBudget: {}},
    outlierDetection: {consecutive5xx: 5}, breaker: {endpoint: {}, cluster: {}}, endpoints: [%s]}
routes:
  orders:
`, protocol, addresses([]*meshtest.Backend{httpBackend(b, "a"), httpBackend(b, "b"), httpBackend(b, "c")}))
	for i := range 99 {
		fmt.Fprintf(&s, "    - {match: {path: {exact: /shop.Orders/Other%d}}, to: nowhere}\n", i)
	}
	s.WriteString("    - {match: {path: {prefix: /shop.Orders/}}, to: orders, retry: {attempts: 3, on: [unavailable, gateway-error]}}\n")
	return []byte(s.String())
}

// stubTransport reads a request and answers at once.
type stubTransport struct{}

func (stubTransport) RoundTrip(req *http.Request) (*http.Response, error) {
	var buf [512]byte
	for err := error(nil); err == nil; {
		_, err = req.Body.Read(buf[:])
	}
	_ = req.Body.Close()
	return &http.Response{StatusCode: http.StatusOK, Body: stubBody{}, Request: req}, nil
}

// stubBody is an empty body that is not known to be one.
type stubBody struct{}

func (stubBody) Read([]byte) (int, error) { return 0, io.EOF }
func (stubBody) Close() error             { return nil }
