package mesh_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
)

// TestRequestWithoutHeader sends requests whose Header is nil, which net/http refuses: so they
// are under policy, and one that policy gives a header is sent.
func TestRequestWithoutHeader(t *testing.T) {
	p := protocols[1]
	send := func(t *testing.T, rt http.RoundTripper, target string) error {
		req := &http.Request{Method: http.MethodGet, URL: &url.URL{Scheme: "http", Host: target, Path: "/"}}
		resp, err := rt.RoundTrip(req.WithContext(within(t, long)))
		if err == nil {
			_ = resp.Body.Close()
		}
		return err
	}
	for name, route := range map[string]string{
		"once":  "timeout: 60s",
		"retry": "retry: {" + again + "}",
		"hedge": "retry: {" + again + "}, hedge: {delay: 1h}",
	} {
		t.Run(name, func(t *testing.T) {
			b := p.scripted(t, "b", failFirst(0))
			err := send(t, p.retrying(t, "", route, b).Transport(nil), "orders")
			if err == nil || !strings.Contains(err.Error(), "nil Request.Header") || b.Calls() != 0 {
				t.Errorf("%v after %d attempts", err, b.Calls())
			}
		})
	}
	t.Run("counted", func(t *testing.T) {
		b := p.scripted(t, "b", failFirst(0))
		if err := send(t, p.counting(t, "", b).Transport(nil), "counted"); err != nil || b.Calls() != 1 {
			t.Errorf("%v after %d attempts", err, b.Calls())
		}
	})
}
