package grpcgo

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/weft-mesh/weft/mesh/meshtest"
)

// TestRetriesDiffer is what the package's documentation lists.
func TestRetriesDiffer(t *testing.T) {
	const down, short, down5 = 0, 1, 2
	p := newRetryPair(t,
		retryPolicy{On: []string{"unavailable"}, Attempts: 2},
		retryPolicy{On: []string{"unavailable"}, Attempts: 2, Buffer: 500},
		retryPolicy{On: []string{"unavailable", "deadline-exceeded"}, Attempts: 5},
	)
	const soon = 300 * time.Millisecond
	for _, c := range []struct {
		name string
		exchange
		stock, weft string // attempts and end
	}{
		{"pushback beyond the deadline", exchange{Policy: down, Kind: "unary", Steps: "s", Timeout: soon,
			Script: script{failing(codes.Unavailable, "60000"), answers()}}, "1 DeadlineExceeded", "1 Unavailable"},
		{"pushback of 33 bits", exchange{Policy: down, Kind: "unary", Steps: "s", Timeout: soon,
			Script: script{failing(codes.Unavailable, "4294967296"), answers()}}, "1 DeadlineExceeded", "1 Unavailable"},
		{"HTTP status", exchange{Policy: down, Kind: "unary", Steps: "s",
			Script: script{ending(bare), answers()}}, "2 OK", "1 Unavailable"},
		{"a large request", exchange{Policy: short, Kind: "unary", Steps: "b",
			Script: script{failing(codes.Unavailable), answers()}}, "1 Unavailable", "2 OK"},
		{"no answer in time", exchange{Policy: down5, Kind: "unary", Steps: "s", Timeout: soon,
			Script: script{ending(hangs)}}, "1 DeadlineExceeded", "1 DeadlineExceeded"},
	} {
		t.Run(c.name, func(t *testing.T) {
			want := []string{c.stock, c.weft}
			var got []string
			for {
				got = nil
				for _, o := range p.outcomes(c.exchange) {
					got = append(got, o.String())
				}
				if c.Timeout == 0 || c.Timeout > long/4 || slices.Equal(got, want) {
					break
				}
				c.Timeout *= 8 // an attempt may have come too late, when the machine is busy
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("(-want grpc-go, Weft +got):\n%s", diff)
			}
		})
	}
}

func (o outcome) String() string { return fmt.Sprint(len(o.Attempts), " ", o.Code) }

// TestRetryThrottling has both clients run out of tokens (gRFC A6) and earn them again, by
// calls of methods with and without a retry policy.
// grpc-go has its limit from a service config, as xDS has no field for it, and with that its
// cap of five attempts.
func TestRetryThrottling(t *testing.T) {
	for _, c := range []struct {
		tokens int
		ratio  float64
	}{{10, 0.5}, {4, 0.125}, {1, 1}, {7, 0.25}} {
		t.Run(fmt.Sprint(c.tokens, " ", c.ratio), func(t *testing.T) {
			p := &retryPair{backend: newScripted(t), policies: []retryPolicy{{On: []string{"unavailable", "internal"}, Attempts: 3}, {On: []string{"unavailable"}, Attempts: 4}, {}}}
			cp := meshtest.NewControlPlane(t)
			cp.Apply(p.policy(fmt.Sprintf("retryThrottling: {maxTokens: %d, tokenRatio: %v%%}", c.tokens, c.ratio*100)))
			p.clients = []client{p.dialPlain(t, c.tokens, c.ratio), dialWeft(t, cp, "orders")}
			g := newGenerator(t)
			lost := failing(codes.Unavailable)
			var seen []int
			for range 150 {
				e := exchange{Policy: g.IntN(3), Kind: g.oneOf("unary", "bidi"), Steps: "s", Script: script{
					[]turn{answers(), answers(), lost, lost, lost, failing(codes.NotFound), failing(codes.Unavailable, "-1"), failing(codes.NotFound, "-1"),
						{After: -1, Headers: true, Code: codes.Unavailable}, {After: -1, Messages: 1, Code: codes.Unavailable}, ending(refuses)}[g.IntN(11)],
					[]turn{answers(), lost}[g.IntN(2)],
				}}
				if e.Kind == "bidi" {
					e.Steps += "c"
				}
				stock, diff := p.compare(e)
				if diff != "" {
					t.Fatalf("after %v attempts: %+v (-grpc-go +Weft):\n%s", seen, e, diff)
				}
				seen = append(seen, len(stock.Attempts))
			}
			if !slices.Contains(seen, 1) {
				t.Errorf("nothing was throttled: %v", seen)
			}
		})
	}
	t.Run("cap", func(t *testing.T) {
		p := &retryPair{backend: newScripted(t), policies: []retryPolicy{{On: []string{"unavailable"}, Attempts: 9}}}
		cp := meshtest.NewControlPlane(t)
		cp.Apply(p.policy(""))
		p.clients = []client{p.dialPlain(t, 1000, 1), dialWeft(t, cp, "orders")}
		var got []string
		for _, o := range p.outcomes(exchange{Kind: "unary", Steps: "s", Script: script{failing(codes.Unavailable)}}) {
			got = append(got, o.String())
		}
		if diff := cmp.Diff([]string{"5 Unavailable", "9 Unavailable"}, got); diff != "" {
			t.Error(diff)
		}
	})
}

// dialPlain is a client without xDS, by a service config that says the same.
func (p *retryPair) dialPlain(t *testing.T, tokens int, ratio float64) client {
	t.Helper()
	var methods []string
	for n, r := range p.policies {
		if r.Attempts == 0 {
			continue
		}
		var on []string
		for _, name := range r.On {
			on = append(on, `"`+statusName(name)+`"`)
		}
		methods = append(methods, fmt.Sprintf(`{"name": [{"service": "retry.P%d"}], "retryPolicy": {"maxAttempts": %d, "initialBackoff": "0.001s", "maxBackoff": "0.002s", "backoffMultiplier": 2, "retryableStatusCodes": [%s]}}`,
			n, r.Attempts, strings.Join(on, ", ")))
	}
	conn, err := grpc.NewClient("passthrough:///"+p.backend.Addr, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultServiceConfig(fmt.Sprintf(`{"methodConfig": [%s], "retryThrottling": {"maxTokens": %d, "tokenRatio": %v}}`, strings.Join(methods, ", "), tokens, ratio)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return client{"grpc-go", conn, ""}
}

// statusName is what a status is called in service configs, of its name in retry_on.
func statusName(token string) string {
	return strings.ReplaceAll(strings.ToUpper(token), "-", "_")
}
