package mesh_test

import (
	"context"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// TestRetriedAnswers has answers that are retried be let go of: what is left of a short one
// is read, so that its connection is used again, and of others no more than that, in no more
// time. Either way the attempt is over before the next one is.
func TestRetriedAnswers(t *testing.T) {
	const most = 64 << 10
	for name, c := range map[string]struct {
		body  int           // bytes
		stall bool          // before the answer's end
		took  time.Duration // before the next attempt
		dials int64         // of HTTP/1.1
	}{
		"short":           {10_000, false, 0, 1},
		"long":            {16 << 20, false, 0, 2},
		"long in coming":  {10, true, 50 * time.Millisecond, 2},
		"stalls at limit": {most, true, 0, 2},
	} {
		for _, protocol := range []string{"http", "http2"} {
			for kind, body := range map[string]func() io.Reader{
				"no body":   func() io.Reader { return nil },
				"in memory": func() io.Reader { return strings.NewReader("body") },
				"stream":    func() io.Reader { return &closeCounter{Reader: strings.NewReader("body")} },
			} {
				t.Run(name+"/"+protocol+"/"+kind, func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) {
						n := &memory{}
						var dials, wrote atomic.Int64
						var first, second time.Time
						over := make(chan struct{})
						defer serveMemory(t, n, modelAddress, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
							if !first.IsZero() {
								second = time.Now()
								if c.body > most || c.stall {
									<-over
								}
								return
							}
							first = time.Now()
							_, _ = io.Copy(io.Discard, r.Body)
							w.WriteHeader(http.StatusServiceUnavailable)
							for wrote.Load() < int64(c.body) {
								n, err := w.Write(make([]byte, min(10_000, int64(c.body)-wrote.Load())))
								wrote.Add(int64(n))
								if err != nil {
									break
								}
							}
							if _ = http.NewResponseController(w).Flush(); c.body > most || c.stall {
								<-r.Context().Done()
							}
							close(over)
						}))()
						m := modelMesh(t, protocol, "retry: {statusCodes: [503], backOff: {baseInterval: 1ms, maxInterval: 1ms}}")
						rt := m.Transport(&http.Transport{DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
							dials.Add(1)
							return n.dial(ctx, network, address)
						}})
						if _, err := postBody(within(t, modelDeadline), rt, body()); err != nil {
							t.Error(err)
						}
						if took := second.Sub(first).Truncate(10 * time.Millisecond); took != c.took {
							t.Errorf("the next attempt came after %v, want %v", took, c.took)
						}
						if wrote.Load() > 8<<20 { // HTTP/2 lets 4 MiB come before any is read
							t.Error("all of the answer was read")
						}
						if protocol == "http" && dials.Load() != c.dials {
							t.Errorf("%d connections, want %d", dials.Load(), c.dials)
						}
						if err := m.Close(within(t, time.Second)); err != nil {
							t.Error(err)
						}
					})
				})
			}
		}
	}
}

// TestRefusedAnswerHoldsUpNoOther has an attempt of a hedged request fail with an answer that
// does not end, while another is under way: what that one answers is the call's at once.
func TestRefusedAnswerHoldsUpNoOther(t *testing.T) {
	body := func() []piece { return []piece{{nil, "a"}} }
	replaying(t, "retry: {attempts: 2, statusCodes: [503]}, hedge: {delay: 10ms}", body, func(n int, w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		time.Sleep(20 * time.Millisecond)
		if n == 1 {
			w.WriteHeader(http.StatusServiceUnavailable)
			answer(w)
			<-r.Context().Done()
			return
		}
		_, _ = io.WriteString(w, "b")
	}, func(t *testing.T, r *replayed) {
		began := time.Now()
		r.expect(t, "b")
		if took := time.Since(began); took != 30*time.Millisecond {
			t.Errorf("answered after %v, want 30ms", took)
		}
	})
}
