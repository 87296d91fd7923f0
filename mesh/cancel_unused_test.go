package mesh_test

import (
	"context"
	"net/http"
	"testing"
	"testing/synctest"
)

// TestRequestCancelUnused has requests end whose Request.Cancel is never closed, and whose
// context never ends: nothing waits for either any more, which would hold up the bubble.
func TestRequestCancelUnused(t *testing.T) {
	for name, route := range map[string]string{
		"retry": "retry: {" + again + "}",
		"hedge": "retry: {" + again + "}, hedge: {delay: 1h}",
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBubble(t, protocols[1], "", route, 1, failFirst(1))
				req, err := http.NewRequestWithContext(context.Background(), http.MethodGet, "http://orders/", http.NoBody)
				if err != nil {
					t.Fatal(err)
				}
				req.Cancel = make(chan struct{}) //nolint:staticcheck // what is tested
				resp, err := b.transport(t).RoundTrip(req)
				if err != nil {
					t.Fatal(err)
				}
				if err := resp.Body.Close(); err != nil {
					t.Error(err)
				}
			})
		})
	}
}
