package mesh_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// TestRetryOfTheUnreachable has a call's only backend be reached by a retry: that no
// connection was to be had is retried as such, and at the same endpoint.
func TestRetryOfTheUnreachable(t *testing.T) {
	for _, protocol := range []string{"grpc", "http", "http2"} {
		t.Run(protocol, func(t *testing.T) {
			var conn *grpc.ClientConn // must not become garbage within the bubble
			synctest.Test(t, func(t *testing.T) {
				n := &memory{}
				on := "connect-failure"
				if protocol == "grpc" {
					on = "unavailable"
				}
				m := modelMesh(t, protocol, "retry: {attempts: 10, on: ["+on+"], backOff: {baseInterval: 1s, maxInterval: 10s}}")
				ctx := within(t, modelDeadline)
				ended := make(chan error)
				go func() {
					if protocol != "grpc" {
						_, err := postBody(ctx, m.Transport(&http.Transport{DialContext: n.dial}), strings.NewReader("7"))
						ended <- err
						return
					}
					var err error
					conn, err = m.Dial("orders", grpc.WithContextDialer(func(ctx context.Context, address string) (net.Conn, error) {
						return n.dial(ctx, "tcp", address)
					}))
					if err == nil {
						err = conn.Invoke(ctx, "/a/b", wrapperspb.String("7"), new(wrapperspb.StringValue))
					}
					ended <- err
				}()
				time.Sleep(time.Second)
				var h http.Handler = http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})
				if protocol == "grpc" {
					h = &modelled{moves: []move{{read: -1}}}
				}
				defer serveMemory(t, n, modelAddress, h)()
				if err := <-ended; err != nil {
					t.Error(err)
				}
				if conn != nil {
					_ = conn.Close()
				}
				if err := m.Close(within(t, time.Second)); err != nil {
					t.Error(err)
				}
			})
			runtime.KeepAlive(conn)
		})
	}
}

// TestHedgeWithoutBody has hedges fail because the body cannot be had again: what the first
// attempt is answered with is the call's answer.
func TestHedgeWithoutBody(t *testing.T) {
	body := func() []piece { return []piece{{nil, "a"}} }
	replaying(t, "retry: {attempts: 4, statusCodes: [503]}, hedge: {delay: 10ms}", body, func(_ int, w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		time.Sleep(time.Second)
		w.WriteHeader(http.StatusServiceUnavailable)
	}, func(t *testing.T, r *replayed) {
		req := r.request(t)
		req.GetBody = func() (io.ReadCloser, error) { return nil, errors.New("just once") }
		resp, err := r.Mesh.Transport(r.Transport).RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		if _ = resp.Body.Close(); resp.StatusCode != http.StatusServiceUnavailable {
			t.Error(resp.Status)
		}
	})
}

// TestRetryWithoutBody has a retry fail because the body cannot be had again: that is what
// the call comes to, as what was answered before is gone.
func TestRetryWithoutBody(t *testing.T) {
	body := func() []piece { return []piece{{nil, "a"}} }
	gone := errors.New("just once")
	replaying(t, "retry: {attempts: 4, statusCodes: [503], backOff: {baseInterval: 1ms}}", body, func(_ int, w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.WriteHeader(http.StatusServiceUnavailable)
	}, func(t *testing.T, r *replayed) {
		req := r.request(t)
		req.GetBody = func() (io.ReadCloser, error) { return nil, gone }
		if resp, err := r.Mesh.Transport(r.Transport).RoundTrip(req); !errors.Is(err, gone) {
			t.Error(resp, err)
		}
	})
}

// TestCanceledBodyIsNotRead has a request canceled whose body is being read: once the call
// has returned, the memory that the body reads into is the application's.
func TestCanceledBodyIsNotRead(t *testing.T) {
	var reading atomic.Bool
	canceled := make(chan struct{})
	body := func() []piece {
		canceled = make(chan struct{})
		return []piece{{func() {
			reading.Store(true)
			<-canceled
			for range 10_000 { // longer than it takes to give a request up
				runtime.Gosched()
			}
			reading.Store(false)
		}, "a"}}
	}
	replaying(t, "retry: {statusCodes: [503]}", body, func(_ int, _ http.ResponseWriter, r *http.Request) {
		if _, err := io.Copy(io.Discard, r.Body); err == nil {
			<-r.Context().Done() // the body may end before the call is given up
		}
	}, func(t *testing.T, r *replayed) {
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Second, func() {
			cancel()
			close(canceled)
		})
		req := r.request(t).WithContext(ctx)
		req.GetBody = func() (io.ReadCloser, error) { return nil, errors.New("just once") }
		if _, err := r.Mesh.Transport(r.Transport).RoundTrip(req); !errors.Is(err, context.Canceled) {
			t.Errorf("%v, want it canceled", err)
		}
		if reading.Load() {
			t.Error("the body is read still")
		}
	})
}
