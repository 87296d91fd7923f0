package grpcgo

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

// TestFaults has calls of both clients meet the same faults (gRFC A33). Left out is what
// grpc-go does otherwise than Envoy: of a header's values the last counts, one of HTTP
// that makes no sense hides that of gRPC, headers of requests and upstream clusters are not
// looked at, and a unary call that ends with OK and no message ends with io.EOF.
func TestFaults(t *testing.T) {
	const all = ", percentage: 100%"
	routes := map[string]string{
		"header":     "abort: {headerAbort: true" + all + "}",
		"some":       "abort: {headerAbort: true, percentage: 0%}",
		"delayed":    "delay: {headerDelay: true" + all + "}, abort: {httpStatus: 404" + all + "}",
		"none":       "abort: {grpcStatus: 5, percentage: 0%}",
		"overloaded": "maxActiveFaults: 0, abort: {grpcStatus: 5" + all + "}",
		"disabled":   "disabled: true",
		"ok":         "abort: {grpcStatus: 0" + all + "}",
	}
	var requests []request
	for code := 1; code <= 16; code++ {
		name := fmt.Sprint("grpc", code)
		routes[name] = fmt.Sprintf("abort: {grpcStatus: %d%s}", code, all)
		requests = append(requests, request{path: name}, request{"header", []string{"x-envoy-fault-abort-grpc-request", fmt.Sprint(code)}})
	}
	for code := 200; code < 600; code++ {
		if http.StatusText(code) == "" || code == http.StatusRequestHeaderFieldsTooLarge { // a status of grpc's own transport, but not of its faults
			continue
		}
		name := fmt.Sprint("http", code)
		routes[name] = fmt.Sprintf("abort: {httpStatus: %d%s}", code, all)
		requests = append(requests, request{path: name}, request{"header", []string{"x-envoy-fault-abort-request", fmt.Sprint(code)}})
	}
	for _, path := range []string{"header", "some", "delayed", "none", "overloaded", "disabled", "other"} {
		for _, header := range []string{
			"", "x-envoy-fault-abort-request 503", "x-envoy-fault-abort-request 600", "x-envoy-fault-abort-grpc-request 99",
			"x-envoy-fault-abort-grpc-request 7 x-envoy-fault-abort-request-percentage 0",
			"x-envoy-fault-abort-grpc-request 7 x-envoy-fault-abort-request-percentage 1000",
			"x-envoy-fault-abort-grpc-request seven", "x-envoy-fault-delay-request 1", "x-envoy-fault-delay-request x",
		} {
			requests = append(requests, request{path, strings.Fields(header)})
		}
	}
	var list strings.Builder
	for name, fault := range routes {
		fmt.Fprintf(&list, "    - {to: orders, match: {path: {exact: /shop.Orders/%s}}, fault: {%s}}\n", name, fault)
	}
	cp := meshtest.NewControlPlane(t)
	cp.Apply("services:\n" + service("orders", newBackend(t, "a")) + "routes:\n  orders:\n" + list.String() + "    - to: orders\n")
	clients := bothClients(t, cp, "orders")
	stock, weft := clients[0], clients[1]
	call := func(c client, r request) codes.Code {
		ctx, cancel := context.WithTimeout(t.Context(), long)
		defer cancel()
		_, code, _ := c.call(ctx, request{"/shop.Orders/" + r.path, r.header})
		return code
	}
	seen := map[codes.Code]int{}
	for _, r := range requests {
		want, got := call(stock, r), call(weft, r)
		if got != want {
			t.Errorf("%v: %v, of grpc-go %v", r, got, want)
		}
		seen[want]++
	}
	if len(seen) != 17 {
		t.Errorf("%d statuses were seen: %v", len(seen), seen)
	}
	for _, c := range clients {
		began := time.Now()
		call(c, request{"delayed", []string{"x-envoy-fault-delay-request", "200"}})
		if took := time.Since(began); took < 200*time.Millisecond {
			t.Errorf("%s: a delayed call took %v", c.name, took)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		_, code, _ := c.call(ctx, request{"/shop.Orders/delayed", []string{"x-envoy-fault-delay-request", "100000000"}})
		cancel()
		if code != codes.DeadlineExceeded && code != codes.Unknown { // grpc-go gives the context's error as it is
			t.Errorf("%s: a delayed call ended with %v", c.name, code)
		}
		s, err := c.conn.NewStream(t.Context(), &grpc.StreamDesc{ServerStreams: true}, "/shop.Orders/ok")
		if err == nil {
			err = s.RecvMsg(new(wrapperspb.StringValue))
		}
		if !errors.Is(err, io.EOF) {
			t.Errorf("%s: a stream that policy ends with OK ended with %v, %v", c.name, err, status.Code(err))
		}
	}
}
