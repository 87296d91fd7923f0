package mesh_test

import (
	"io"
	"net/http"
	"testing"
	"testing/synctest"
	"time"
)

// TestBodyClosedUnread answers a request before its body is asked for. net/http closes that
// body, reads it all the same when it has waited for long enough, and does not close it
// again: it must not be had a second time for that.
func TestBodyClosedUnread(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := &memory{}
		defer serveMemory(t, n, modelAddress, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusBadRequest)
			_ = http.NewResponseController(w).Flush()
			time.Sleep(3 * time.Second)
		}))()
		m := modelMesh(t, "http2", "retry: {attempts: 2, statusCodes: [503]}")
		base := &http.Transport{DialContext: n.dial, ExpectContinueTimeout: time.Second}

		var bodies []*modelBody
		open := func() (io.ReadCloser, error) {
			bodies = append(bodies, &modelBody{tb: t, text: "body", broken: -1})
			return bodies[len(bodies)-1], nil
		}
		body, _ := open()
		req, err := http.NewRequestWithContext(within(t, modelDeadline), http.MethodPost, "http://orders/", body)
		if err != nil {
			t.Fatal(err)
		}
		req.GetBody = open
		req.Header.Set("Expect", "100-continue")
		resp, err := m.Transport(base).RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Second) // net/http has waited
		_, _ = io.Copy(io.Discard, resp.Body)
		_ = resp.Body.Close()
		synctest.Wait()

		for i, b := range bodies {
			if b.closed != 1 || b.late != 0 {
				t.Errorf("body %d of %d was closed %d times, and read %d times after that", i+1, len(bodies), b.closed, b.late)
			}
		}
		if err := m.Close(within(t, time.Second)); err != nil {
			t.Error(err)
		}
	})
}
