package ratelimit

import (
	"context"
	"fmt"
	"net/http"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/weft-mesh/weft/mesh"
	"github.com/weft-mesh/weft/mesh/meshtest"
)

// limits are the service's: by user, less for one of them, and by the API that is called.
const limits = `
domain: shop
descriptors:
  - key: user
    rate_limit: {unit: hour, requests_per_unit: 5}
  - key: user
    value: bob
    rate_limit: {unit: hour, requests_per_unit: 2}
  - key: api
    value: orders
    descriptors:
      - key: plan
        value: free
        rate_limit: {name: free, unit: day, requests_per_unit: 3}
`

// caller makes a call with headers, and returns its HTTP status, or that which stands for
// its gRPC status, and what the response tells of the limit.
type caller func(t *testing.T, header map[string]string) (code int, told string)

const long = time.Minute

func callers(t *testing.T, policy string) map[string]caller {
	return map[string]caller{
		"http": func() caller {
			back := meshtest.HTTP(t, http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
			m := meshtest.New(t, mesh.WithPolicy(fmt.Appendf(nil, policy, "http", back.Addr)))
			client := m.HTTPClient()
			t.Cleanup(client.CloseIdleConnections)
			return func(t *testing.T, header map[string]string) (int, string) {
				req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://orders/", nil)
				if err != nil {
					t.Fatal(err)
				}
				for k, v := range header {
					req.Header.Set(k, v)
				}
				resp, err := client.Do(req)
				if err != nil {
					t.Fatal(err)
				}
				resp.Body.Close()
				return resp.StatusCode, resp.Header.Get("x-ratelimit-limit") + " left " + resp.Header.Get("x-ratelimit-remaining")
			}
		}(),
		"grpc": func() caller {
			back := meshtest.GRPC(t, func(grpc.ServiceRegistrar) {}, grpc.UnknownServiceHandler(func(_ any, s grpc.ServerStream) error {
				if err := s.RecvMsg(new(wrapperspb.StringValue)); err != nil {
					return err
				}
				return s.SendMsg(wrapperspb.String(""))
			}))
			m := meshtest.New(t, mesh.WithPolicy(fmt.Appendf(nil, policy, "grpc", back.Addr)))
			conn, err := m.Dial("orders")
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = conn.Close() })
			return func(t *testing.T, header map[string]string) (int, string) {
				ctx, cancel := context.WithTimeout(metadata.NewOutgoingContext(t.Context(), metadata.New(header)), long)
				defer cancel()
				var md metadata.MD
				err := conn.Invoke(ctx, "/shop.Orders/Get", wrapperspb.String(""), new(wrapperspb.StringValue), grpc.Header(&md))
				first := func(name string) string {
					if v := md.Get(name); len(v) > 0 {
						return v[0]
					}
					return ""
				}
				told := first("x-ratelimit-limit") + " left " + first("x-ratelimit-remaining")
				switch status.Code(err) {
				case codes.OK:
					return 200, told
				case codes.Unavailable:
					return 429, told
				default:
					t.Fatal(err)
					return 0, ""
				}
			}
		}(),
	}
}

// TestService counts what a real service lets pass.
func TestService(t *testing.T) {
	for _, protocol := range []string{"http", "grpc"} {
		t.Run(protocol, func(t *testing.T) {
			addr, _ := startService(t, limits)
			call := callers(t, `services: {orders: {protocol: %s, connectTimeout: 60s, endpoints: ["%s"], rateLimit: {enableXRatelimitHeaders: true, service: {target: "`+addr+`", domain: shop,
				timeout: 60s, failureMode: deny, descriptors: [{entries: [{header: x-user, key: user}]}, {entries: [{genericKey: orders, key: api}, {header: x-plan, key: plan}]}]}}}}`)[protocol]
			for _, test := range []struct {
				header map[string]string
				passed int
				told   string // by the first that passes
			}{
				{map[string]string{"x-user": "ann"}, 5, "5, 5;w=3600 left 4"},
				{map[string]string{"x-user": "bob"}, 2, "2, 2;w=3600 left 1"},
				{map[string]string{"x-user": "cid", "x-plan": "paid"}, 5, "5, 5;w=3600 left 4"},
				{map[string]string{"x-plan": "free"}, 3, `3, 3;w=86400;name="free" left 2`},
				{map[string]string{"x-user": "dan", "x-plan": "free"}, 0, ""}, // the plan has nothing left
				{nil, 9, " left "},
			} {
				passed := 0
				for n := range 9 {
					code, told := call(t, test.header)
					switch code {
					case http.StatusOK:
						if passed++; n == 0 && told != test.told {
							t.Errorf("%v: told %q, want %q", test.header, told, test.told)
						}
					case http.StatusTooManyRequests:
					default:
						t.Fatalf("%v: %d", test.header, code)
					}
				}
				if passed != test.passed {
					t.Errorf("%v: %d of 9 passed, want %d", test.header, passed, test.passed)
				}
			}
		})
	}
}

// TestServiceFails has the service lose what it counts in: what becomes of calls is the
// policy's to say.
func TestServiceFails(t *testing.T) {
	for mode, want := range map[string]int{"deny": 500, "allow": 200} {
		addr, db := startService(t, limits)
		call := callers(t, `services: {orders: {protocol: %s, connectTimeout: 60s, endpoints: ["%s"], rateLimit: {service: {target: "`+addr+`", domain: shop,
			timeout: 60s, failureMode: `+mode+`, descriptors: [{entries: [{header: x-user, key: user}]}]}}}}`)["http"]
		if code, _ := call(t, map[string]string{"x-user": "ann"}); code != http.StatusOK {
			t.Errorf("%s: %d while the service works", mode, code)
		}
		db.SetError("gone")
		if code, _ := call(t, map[string]string{"x-user": "ann"}); code != want {
			t.Errorf("%s: %d, want %d", mode, code, want)
		}
	}
}
