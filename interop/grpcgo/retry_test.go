package grpcgo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/weft-mesh/weft/mesh/meshtest"
)

// retryPolicy is one that both clients can be given.
type retryPolicy struct {
	On       []string // of gRFC A44
	Attempts int      // 0 for that there is no policy
	Buffer   int      // bytes of a request that are kept; 0 for what is usual
}

func (p retryPolicy) String() string {
	var buffer string
	if p.Buffer > 0 {
		buffer = fmt.Sprintf(", bufferLimit: %d", p.Buffer)
	}
	return fmt.Sprintf("{attempts: %d, on: [%s], backOff: {baseInterval: 1ms, maxInterval: 2ms}%s}", p.Attempts, strings.Join(p.On, ", "), buffer)
}

// exchange is a call, and what becomes of its attempts.
type exchange struct {
	Policy int
	// Kind says which sides send streams: unary, server, client or bidi.
	Kind string
	// Steps are what the client of a stream does, before it receives until the end:
	// s sends a message, b one of 1000 bytes, c says that it was the last, h asks for the
	// headers, r for a message. Of a unary call it is only the request, s or b.
	Steps   string
	Script  script
	Timeout time.Duration // zero for long
}

// outcome is what is compared.
type outcome struct {
	Code     codes.Code
	Messages int // of the response
	Attempts []attempt
}

// retryPair is both clients, with a backend and retry policies.
type retryPair struct {
	backend  *backend
	clients  []client
	policies []retryPolicy
	calls    int
}

// newRetryPair serves the policies, each at a path of its own, to both clients by xDS.
func newRetryPair(t *testing.T, policies ...retryPolicy) *retryPair {
	t.Helper()
	p := &retryPair{backend: newScripted(t), policies: policies}
	cp := meshtest.NewControlPlane(t)
	cp.Apply(p.policy(""))
	p.clients = bothClients(t, cp, "orders")
	return p
}

// policy is the policy file.
func (p *retryPair) policy(limits string) string {
	var routes strings.Builder
	for n, r := range p.policies {
		if r.Attempts == 0 {
			continue // the route for all
		}
		fmt.Fprintf(&routes, "    - {to: orders, match: {path: {exact: /retry.P%d/Call}}, retry: %v}\n", n, r)
	}
	return fmt.Sprintf("services:\n  orders: {protocol: grpc, %s, endpoints: [%q], limits: {%s}}\nroutes:\n  orders:\n%s    - to: orders\n",
		inTime, p.backend.Addr, limits, routes.String())
}

// compare makes the call by both clients, and returns what is of grpc-go and a difference
// in what is of Weft.
func (p *retryPair) compare(e exchange) (stock outcome, diff string) {
	outcomes := p.outcomes(e)
	return outcomes[0], cmp.Diff(outcomes[0], outcomes[1])
}

// outcomes are those of the call by each client.
func (p *retryPair) outcomes(e exchange) (outcomes [2]outcome) {
	p.calls++
	var wg sync.WaitGroup
	for i, c := range p.clients {
		id := fmt.Sprintf("%d-%d", p.calls, i)
		p.backend.open(id, e.Script)
		wg.Go(func() {
			outcomes[i] = e.make(c, id, p.policies[e.Policy].Buffer)
			outcomes[i].Attempts = p.backend.seen(id)
		})
	}
	wg.Wait()
	return outcomes
}

// make makes the call.
func (e exchange) make(c client, id string, buffer int) (o outcome) {
	timeout := long
	if e.Timeout > 0 {
		timeout = e.Timeout
	}
	ctx, cancel := context.WithTimeout(metadata.AppendToOutgoingContext(context.Background(), callHeader, id), timeout)
	defer cancel()
	var opts []grpc.CallOption
	if buffer > 0 { // to Weft, whose limit is policy's, it is of transparent retries alone
		opts = append(opts, grpc.MaxRetryRPCBufferSize(buffer))
	}
	path := fmt.Sprintf("/retry.P%d/Call", e.Policy)
	request := map[rune]*wrapperspb.StringValue{'s': wrapperspb.String("x"), 'b': wrapperspb.String(strings.Repeat("x", 1000))}
	if e.Kind == "unary" {
		err := c.conn.Invoke(ctx, path, request[rune(e.Steps[0])], new(wrapperspb.StringValue), opts...)
		if err == nil {
			o.Messages = 1
		}
		o.Code = status.Code(err)
		return o
	}
	desc := &grpc.StreamDesc{ServerStreams: e.Kind != "client", ClientStreams: e.Kind != "server"}
	s, err := c.conn.NewStream(ctx, desc, path, opts...)
	if err != nil {
		o.Code = status.Code(err)
		return o
	}
	receive := func() error {
		err := s.RecvMsg(new(wrapperspb.StringValue))
		if err == nil {
			o.Messages++
		}
		return err
	}
	for _, step := range e.Steps {
		switch step {
		case 's', 'b':
			_ = s.SendMsg(request[step]) // receiving says why
		case 'c':
			_ = s.CloseSend()
		case 'h':
			_, _ = s.Header()
		case 'r':
			err = receive()
		}
	}
	for err == nil {
		err = receive()
		if err == nil && !desc.ServerStreams {
			break
		}
	}
	if errors.Is(err, io.EOF) && c.gap != "" {
		err = receive() // of some failures grpc-go tells only then; see the package's documentation
	}
	if !errors.Is(err, io.EOF) {
		o.Code = status.Code(err)
	}
	return o
}

// answer and fail are turns after the whole request.
func answers() turn { return turn{After: -1, Messages: 1} }

func failing(code codes.Code, pushback ...string) turn {
	return turn{After: -1, Code: code, Pushback: pushback}
}

func ending(e end) turn { return turn{After: -1, End: e} }

// times is the turn so often, and then others.
func times(n int, t turn, then ...turn) script {
	var s script
	for range n {
		s = append(s, t)
	}
	return append(s, then...)
}

// TestRetries has calls of both clients meet the same failures under the same policies.
func TestRetries(t *testing.T) {
	const down, none, three, all, nine, short = 0, 1, 2, 3, 4, 5
	p := newRetryPair(t, []retryPolicy{
		down:  {On: []string{"unavailable"}, Attempts: 2},
		none:  {On: []string{"internal"}, Attempts: 4},
		three: {On: []string{"unavailable", "resource-exhausted"}, Attempts: 3},
		all:   {On: a44, Attempts: 4},
		nine:  {On: []string{"unavailable"}, Attempts: 9},
		short: {On: []string{"unavailable"}, Attempts: 4, Buffer: 500},
	}...)
	type row struct {
		name string
		exchange
		want int // attempts of either
	}
	var rows []row
	for code := codes.Canceled; code <= codes.Unauthenticated; code++ {
		want := map[codes.Code]int{codes.Canceled: 3, codes.DeadlineExceeded: 3, codes.Internal: 3, codes.ResourceExhausted: 3, codes.Unavailable: 3}[code]
		rows = append(rows, row{"all: " + code.String(), exchange{Policy: all, Kind: "unary", Steps: "s", Script: times(2, failing(code), answers())}, max(1, want)})
	}
	unary := func(policy int, s script) exchange {
		return exchange{Policy: policy, Kind: "unary", Steps: "s", Script: s}
	}
	lost := failing(codes.Unavailable)
	rows = append(rows,
		row{"no failure", unary(all, script{answers()}), 1},
		row{"exhausted", unary(three, script{lost}), 3},
		row{"exhausted by another", unary(three, script{lost, lost, failing(codes.NotFound)}), 3},
		row{"nine attempts", unary(nine, script{lost}), 9},
		row{"not named", unary(none, script{lost}), 1},
	)
	for _, value := range []string{"0", "1", "20", "-0", "+3", "007"} {
		rows = append(rows, row{"pushback " + value, unary(three, times(2, failing(codes.Unavailable, value), answers())), 3})
	}
	for _, value := range []string{"-1", "-2147483648", "soon", "", "1.5", "0x1", "1_0", "99999999999999999999"} {
		rows = append(rows, row{"pushback " + value, unary(three, times(2, failing(codes.Unavailable, value), answers())), 1})
	}
	rows = append(rows,
		row{"pushback twice", unary(three, script{failing(codes.Unavailable, "0", "0"), answers()}), 1},
		row{"pushback of what is not named", unary(three, script{failing(codes.NotFound, "0"), answers()}), 1},
		row{"pushback of the last", unary(three, script{lost, lost, failing(codes.Unavailable, "0")}), 3},
		row{"pushback after headers", unary(three, script{{After: -1, Headers: true, Code: codes.Unavailable, Pushback: []string{"0"}}, answers()}), 1},

		row{"after headers", unary(three, script{{After: -1, Headers: true, Code: codes.Unavailable}, answers()}), 1},
		row{"after a message", unary(three, script{{After: -1, Messages: 1, Code: codes.Unavailable}, answers()}), 1},
		row{"reset", unary(none, script{ending(fails), answers()}), 2},
		row{"reset after headers", unary(none, script{{After: -1, Headers: true, End: fails}, answers()}), 1},
		row{"reset, not named", unary(three, script{ending(fails), answers()}), 1},
		row{"connection lost", unary(three, script{ending(drops), answers()}), 2},
		row{"connection lost thrice", unary(three, script{ending(drops)}), 3},
		row{"connection lost, not named", unary(none, script{ending(drops), answers()}), 1},
	)
	for _, unseen := range []end{refuses, goesAway} {
		rows = append(rows,
			row{string(unseen), unary(none, script{ending(unseen), answers()}), 2},
			row{string(unseen) + " twice, not named", unary(none, script{ending(unseen)}), 2},
			row{string(unseen) + " always", unary(three, script{ending(unseen)}), 4},
			row{string(unseen) + " then down", unary(three, script{ending(unseen), lost}), 4},
			row{string(unseen) + " in a retry", unary(three, script{lost, ending(unseen), answers()}), 3},
			row{string(unseen) + " in a retry, always", unary(three, script{lost, ending(unseen)}), 3},
			row{string(unseen) + ", then after headers", unary(all, script{ending(unseen), {After: -1, Headers: true, Code: codes.Internal}, answers()}), 2},
			row{string(unseen) + ", then after a message", unary(all, script{ending(unseen), {After: -1, Messages: 1, Code: codes.Internal}, answers()}), 2},
			row{string(unseen) + " to a stream, then after headers", exchange{Policy: all, Kind: "bidi", Steps: "sc", Script: script{ending(unseen), {After: -1, Headers: true, Code: codes.Internal}, answers()}}, 2},
			row{string(unseen) + " to a stream", exchange{Policy: none, Kind: "bidi", Steps: "ssch", Script: script{ending(unseen), answers()}}, 2},
			row{string(unseen) + " in a stream's retry", exchange{Policy: three, Kind: "bidi", Steps: "ssch", Script: script{lost, ending(unseen)}}, 3},
		)
	}
	for _, r := range rows {
		t.Run(r.name, func(t *testing.T) {
			stock, diff := p.compare(r.exchange)
			if diff != "" {
				t.Errorf("%v by %v (-grpc-go +Weft):\n%s", r.exchange, p.policies[r.Policy], diff)
			}
			if len(stock.Attempts) != r.want {
				t.Errorf("%d attempts of grpc-go, want %d", len(stock.Attempts), r.want)
			}
		})
	}
}

// a44 are the statuses that may be retried.
var a44 = []string{"cancelled", "deadline-exceeded", "internal", "resource-exhausted", "unavailable"}
