package mesh_test

import (
	"context"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/weft-mesh/weft/filter"
	"github.com/weft-mesh/weft/mesh"
)

// bareRequest has nothing but what a request must have.
func bareRequest(t *testing.T, scheme, host string) *http.Request {
	req := &http.Request{URL: &url.URL{Scheme: scheme, Host: host, Path: "/"}, Header: http.Header{}}
	return req.WithContext(within(t, long))
}

// TestOtherSchemesAreRefused asks with another scheme for a host that calls go to already:
// that is refused before an endpoint can be blamed for it.
func TestOtherSchemesAreRefused(t *testing.T) {
	p := protocols[1]
	rt := oneService(t, p, p.backend(t, "b")).Transport(nil)
	for _, scheme := range []string{"http", "ftp", "http"} {
		resp, err := rt.RoundTrip(bareRequest(t, scheme, "orders"))
		if err == nil {
			_ = resp.Body.Close()
		}
		if refused := err != nil && strings.Contains(err.Error(), `weft: unsupported protocol scheme "ftp"`); refused != (scheme == "ftp") {
			t.Errorf("%s: %v", scheme, err)
		}
	}
}

// methods is a filter that is told of methods.
type methods chan string

func (m methods) Request(_ context.Context, r *filter.Request) (filter.Follower, error) {
	m <- r.Method
	return nil, nil
}

// TestFiltersSeeAMethod sends a request without one, which is a GET.
func TestFiltersSeeAMethod(t *testing.T) {
	p, seen := protocols[1], make(methods, 1)
	kind := filter.Of("example.com/weft.test.Stamp", func(stamp) (filter.Filter, error) { return seen, nil })
	m := newMesh(t, filtering(p.service("back", p.backend(t, "b")), []string{httpFilter("m", stampConfig(""))}, levels("", "", "", "")), mesh.WithFilter(kind))
	resp, err := m.Transport(nil).RoundTrip(bareRequest(t, "http", "front"))
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	if method := <-seen; method != http.MethodGet {
		t.Errorf("the filter saw method %q", method)
	}
}
