package mesh_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/weft-mesh/weft/mesh/meshtest"
)

// slowResponses is a policy whose responses go at 16 KiB a second.
const slowResponses = "fault: {responseRateLimit: {limitKbps: 16, percentage: 100%}}"

// TestFaultThroughput has long responses take their time, on clients and servers, and end
// at once when nobody waits for them any more.
func TestFaultThroughput(t *testing.T) {
	const bytes = 16 << 10
	large := strings.Repeat("x", bytes)
	list := func(_ any, s grpc.ServerStream) error {
		if err := s.RecvMsg(new(wrapperspb.StringValue)); err != nil {
			return err
		}
		for i := 0; i < bytes; i += 1 << 10 {
			if err := s.SendMsg(wrapperspb.String(large[:1<<10])); err != nil {
				return err
			}
		}
		return nil
	}
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/copied" {
			_, _ = io.Copy(w, strings.NewReader(large))
			return
		}
		_, _ = io.WriteString(w, large)
	})
	client := "services: {orders: {protocol: %s, connectTimeout: 60s, endpoints: [%q]}}\nroutes: {orders: [{to: orders, %s}]}\n"
	const server = "routes: {inbound/orders: [{" + slowResponses + "}]}\n"

	for _, side := range []string{"client", "server"} {
		t.Run("http "+side, func(t *testing.T) {
			t.Parallel()
			h, route := http.Handler(handler), slowResponses
			if side == "server" {
				h, route = newMesh(t, server).Handler("orders", handler), "name: plain"
			}
			b := meshtest.HTTP(t, h)
			c := newMesh(t, fmt.Sprintf(client, "http", b.Addr, route)).HTTPClient()
			t.Cleanup(c.CloseIdleConnections)
			for _, path := range []string{"/", "/copied"} {
				began := time.Now()
				if body, err := httpCall(within(t, long), c, "orders", request{path: path}); err != nil || body != large {
					t.Errorf("%s: %d bytes, %v", path, len(body), err)
				}
				if took := time.Since(began); took < 900*time.Millisecond {
					t.Errorf("%s took %v", path, took)
				}
			}
			// What is held back ends with the call, and when it is closed.
			ctx, cancel := context.WithCancel(within(t, long))
			for name, end := range map[string]func(io.Closer){"cancelled": func(io.Closer) { cancel() }, "closed": func(c io.Closer) { _ = c.Close() }} {
				req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://orders/", nil)
				if name == "closed" {
					req = req.WithContext(within(t, long))
				}
				if err != nil {
					t.Fatal(err)
				}
				resp, err := c.Do(req)
				if err != nil {
					t.Fatal(err)
				}
				time.AfterFunc(10*time.Millisecond, func() { end(resp.Body) })
				if n, err := io.Copy(io.Discard, resp.Body); err == nil {
					t.Errorf("%s: all of %d bytes came", name, n)
				}
				_ = resp.Body.Close()
			}
		})
		t.Run("grpc "+side, func(t *testing.T) {
			t.Parallel()
			var opts []grpc.ServerOption
			route := slowResponses
			if side == "server" {
				opts, route = newMesh(t, server).ServerOptions("orders"), "name: plain"
			}
			b := meshtest.GRPC(t, func(grpc.ServiceRegistrar) {}, append(opts, grpc.UnknownServiceHandler(list))...)
			conn := dial(t, newMesh(t, fmt.Sprintf(client, "grpc", b.Addr, route)), "orders")
			receive := func(ctx context.Context) (n int, err error) {
				s, err := conn.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true}, "/shop.Orders/List")
				if err == nil {
					err = errors.Join(s.SendMsg(wrapperspb.String("")), s.CloseSend())
				}
				for m := new(wrapperspb.StringValue); err == nil; {
					if err = s.RecvMsg(m); err == nil {
						n += len(m.GetValue())
					}
				}
				if errors.Is(err, io.EOF) {
					err = nil
				}
				return n, err
			}
			began := time.Now()
			if n, err := receive(within(t, long)); n != bytes || err != nil {
				t.Errorf("%d bytes, %v", n, err)
			}
			if took := time.Since(began); took < 900*time.Millisecond {
				t.Errorf("it took %v", took)
			}
			ctx, cancel := context.WithTimeout(within(t, long), 200*time.Millisecond)
			defer cancel()
			if n, err := receive(ctx); status.Code(err) != codes.DeadlineExceeded || n >= bytes {
				t.Errorf("%d bytes in a call that was too long for its deadline: %v", n, err)
			}
		})
	}
}

// TestFaultUnaryThroughput holds the one message of a unary call back.
func TestFaultUnaryThroughput(t *testing.T) {
	large := strings.Repeat("x", 4<<10)
	answer := func(_ any, s grpc.ServerStream) error {
		return errors.Join(s.RecvMsg(new(wrapperspb.StringValue)), s.SendMsg(wrapperspb.String(large)))
	}
	b := meshtest.GRPC(t, func(grpc.ServiceRegistrar) {}, grpc.UnknownServiceHandler(answer))
	for _, route := range []string{slowResponses, slowResponses + ", maxStreamDuration: 1m", slowResponses + ", retry: {on: [unavailable]}"} {
		conn := dial(t, newMesh(t, fmt.Sprintf("services: {orders: {protocol: grpc, connectTimeout: 60s, endpoints: [%q]}}\nroutes: {orders: [{to: orders, %s}]}\n", b.Addr, route)), "orders")
		began := time.Now()
		reply := new(wrapperspb.StringValue)
		if err := conn.Invoke(within(t, long), "/shop.Orders/Get", wrapperspb.String(""), reply); err != nil || reply.GetValue() != large {
			t.Errorf("%s: %v", route, err)
		}
		if took := time.Since(began); took < 150*time.Millisecond {
			t.Errorf("%s took %v", route, took)
		}
		ctx, cancel := context.WithTimeout(within(t, long), 50*time.Millisecond)
		if err := conn.Invoke(ctx, "/shop.Orders/Get", wrapperspb.String(""), reply); status.Code(err) != codes.DeadlineExceeded {
			t.Errorf("%s: %v", route, err)
		}
		cancel()
		// The one message of a stream comes with its end.
		s, err := conn.NewStream(within(t, long), &grpc.StreamDesc{ClientStreams: true}, "/shop.Orders/Put")
		if err == nil {
			err = errors.Join(s.SendMsg(wrapperspb.String("")), s.CloseSend(), s.RecvMsg(reply))
		}
		if err != nil {
			t.Errorf("%s: %v", route, err)
		}
	}
}
