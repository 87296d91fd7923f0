package meshtest_test

import (
	"context"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/weft-mesh/weft/mesh/meshtest"
)

// stopping calls Stop, and returns once nothing new is accepted.
func stopping(t *testing.T, b *meshtest.Backend) (stopped <-chan struct{}) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		b.Stop()
	}()
	for {
		var d net.Dialer
		c, err := d.DialContext(t.Context(), "tcp", b.Addr)
		if err != nil {
			return done
		}
		_ = c.Close()
	}
}

// TestStopTellsNewConnections has a client of HTTP/2 say that it is one after Stop was
// called, and stay.
func TestStopTellsNewConnections(t *testing.T) {
	b := meshtest.HTTP(t, http.NotFoundHandler())
	var d net.Dialer
	c, err := d.DialContext(t.Context(), "tcp", b.Addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for begun := time.Now(); b.Connections() == 0; <-tick.C {
		if time.Since(begun) > time.Minute {
			t.Fatal("the connection was not accepted in a minute")
		}
	}
	stopped := stopping(t, b)
	if _, err := io.WriteString(c, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"+"\x00\x00\x00\x04\x00\x00\x00\x00\x00"); err != nil { // and SETTINGS
		t.Fatal(err)
	}
	<-stopped // which fails the test after a minute
	if _, err := io.Copy(io.Discard, c); err != nil {
		t.Logf("the connection: %v", err)
	}
}

// TestKillEndsStop has a handler for which Stop waits call Kill.
func TestKillEndsStop(t *testing.T) {
	for name, start := range map[string]func(handle func()) (b *meshtest.Backend, call func() error){
		"grpc": func(handle func()) (*meshtest.Backend, func() error) {
			b := meshtest.GRPC(t, func(grpc.ServiceRegistrar) {}, grpc.UnknownServiceHandler(func(any, grpc.ServerStream) error {
				handle()
				return nil
			}))
			conn, err := grpc.NewClient(b.Addr, grpc.WithTransportCredentials(insecure.NewCredentials()))
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = conn.Close() })
			return b, func() error { return conn.Invoke(t.Context(), "/a/b", &emptypb.Empty{}, &emptypb.Empty{}) }
		},
		"http": func(handle func()) (*meshtest.Backend, func() error) {
			b := meshtest.HTTP(t, http.HandlerFunc(func(http.ResponseWriter, *http.Request) { handle() }))
			return b, func() error { return post(t.Context(), b) }
		},
	} {
		t.Run(name, func(t *testing.T) {
			begun, kill := make(chan struct{}), make(chan struct{})
			var b *meshtest.Backend
			b, call := start(func() {
				close(begun)
				<-kill
				b.Kill()
			})
			failed := make(chan error, 1)
			go func() { failed <- call() }()
			<-begun
			stopped := stopping(t, b)
			close(kill)
			<-stopped
			if err := <-failed; err == nil {
				t.Error("a call to a backend that was killed succeeded")
			}
		})
	}
}

// TestKillEndsDelays leaves nothing of a request that waits, of which its server does not
// hear that its client is gone (goleak).
func TestKillEndsDelays(t *testing.T) {
	b := meshtest.HTTP(t, http.NotFoundHandler())
	b.SetDelay(time.Hour)
	ctx, cancel := context.WithCancel(t.Context())
	failed := make(chan error, 1)
	go func() { failed <- post(ctx, b) }()
	if err := b.AwaitCalls(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	cancel()
	if err := <-failed; err == nil {
		t.Error("a call that was cancelled succeeded")
	}
	b.Kill()
}

// post sends more than a connection takes before it is read.
func post(ctx context.Context, b *meshtest.Backend) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+b.Addr, strings.NewReader(strings.Repeat("x", 1<<20)))
	if err != nil {
		return err
	}
	client := &http.Client{Transport: &http.Transport{}}
	defer client.CloseIdleConnections()
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	return resp.Body.Close()
}
