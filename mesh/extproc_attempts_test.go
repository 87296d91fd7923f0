package mesh_test

import (
	"context"
	"strings"
	"testing"

	"google.golang.org/protobuf/types/known/wrapperspb"
)

// TestExternalProcessingAttempts has calls tried twice whose bodies a server changes: it
// sees each once, as filters are before the attempts, and what it made of the request is
// what is sent again.
func TestExternalProcessingAttempts(t *testing.T) {
	for _, test := range []struct {
		name, host string
		once       func(test *testing.T) func()
	}{
		{"retry", `retryPolicy: {retryOn: "5xx,unavailable"}, `, func(*testing.T) func() { return func() {} }},
		{"hedge", `retryPolicy: {retryOn: "5xx,unavailable", perTryTimeout: 0.05s}, hedgePolicy: {hedgeOnPerTryTimeout: true}, `, func(t *testing.T) func() {
			over := within(t, long)
			return func() { <-over.Done() }
		}},
	} {
		for _, p := range protocols {
			modes := []string{"STREAMED", "BUFFERED"}
			if p.name == "grpc" {
				modes = []string{"GRPC"}
			}
			for _, mode := range modes {
				t.Run(test.name+" "+p.name+" "+mode, func(t *testing.T) {
					b := &bodied{protocol: p, host: test.host, once: test.once(t)}
					server := rewriting(mode == "GRPC")
					_, at := server.serve(t)
					c := b.start(t, at, "processingMode: {requestBodyMode: "+mode+", responseBodyMode: "+mode+"}")
					pieces, call := []string{"hello", "you"}, c.call
					if p.name == "grpc" && test.name == "hedge" { // which streams are not
						pieces, call = pieces[:1], c.invoke
					}
					got, err := call(within(t, long), pieces...)
					if err != nil {
						t.Fatal(err)
					}
					given := strings.Join(pieces, "")
					rewritten := strings.ReplaceAll(given, "e", "3")
					if want := strings.ReplaceAll(strings.ToUpper(rewritten), "O", "0"); strings.Join(got, "") != want {
						t.Errorf("the caller got %q, want %q", got, want)
					}
					if seen := strings.Join(b.taken(), ""); seen != rewritten+rewritten {
						t.Errorf("the backend got %q in all, want %q twice", seen, rewritten)
					}
					if sent := server.sent(); sent != given {
						t.Errorf("of the request, the server got %q, want %q", sent, given)
					}
					server.wait(t)
				})
			}
		}
	}
}

// sent is what the server got of requests' bodies. Under gRPC, it is what is in messages.
func (p *processor) sent() (all string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, e := range p.events {
		for _, r := range string(e.GetRequestBody().GetBody()) {
			if r >= 'a' && r <= 'z' {
				all += string(r)
			}
		}
	}
	return all
}

// invoke makes a unary call.
func (c *bodiedCaller) invoke(ctx context.Context, pieces ...string) ([]string, error) {
	reply := new(wrapperspb.StringValue)
	err := c.grpc.Invoke(ctx, "/shop.Orders/Get", wrapperspb.String(strings.Join(pieces, "")), reply)
	return []string{reply.GetValue()}, err
}
