package grpcgo

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/xds"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/weft-mesh/weft/internal/testleak"
	"github.com/weft-mesh/weft/mesh"
	"github.com/weft-mesh/weft/mesh/meshtest"
)

func TestMain(m *testing.M) { testleak.Main(m) }

// long bounds what must not hang.
const long = time.Minute

// request is a call to make.
type request struct {
	path   string
	header []string // names and values in turn
}

func (r request) String() string { return fmt.Sprintf("%s %q", r.path, r.header) }

// client is one of the two that are compared.
type client struct {
	name string
	conn *grpc.ClientConn
	gap  string // what the error says of calls that the client is known to fail; they are made again
}

// stockGap is of grpc-go alone: it routes by a new table a moment before its picker
// knows the table's new clusters, and fails what falls between.
const stockGap = "unknown cluster selected for RPC"

// call returns the name of the backend that answered, or the code of the failure.
func (c client) call(ctx context.Context, r request) (string, codes.Code, error) {
	ctx = metadata.AppendToOutgoingContext(ctx, r.header...)
	for {
		reply := new(wrapperspb.StringValue)
		err := c.conn.Invoke(ctx, r.path, &wrapperspb.StringValue{}, reply)
		if err == nil || c.gap == "" || ctx.Err() != nil || !strings.Contains(err.Error(), c.gap) {
			return reply.GetValue(), status.Code(err), err
		}
	}
}

// answer is the backend's name, and fails the test if there is none.
func (c client) answer(t *testing.T, r request) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), long)
	defer cancel()
	name, _, err := c.call(ctx, r)
	if err != nil {
		t.Fatalf("%s: %v: %v", c.name, r, err)
	}
	return name
}

// counts calls n times and returns how often each backend answered.
func (c client) counts(t *testing.T, r request, n int) map[string]int {
	t.Helper()
	got := map[string]int{}
	for range n {
		got[c.answer(t, r)]++
	}
	return got
}

// eventually waits until calls are answered by just these backends.
func (c client) eventually(t *testing.T, r request, backends ...string) {
	t.Helper()
	c.until(t, fmt.Sprintf("%v is answered by %v", r, backends), func() bool {
		return slices.Equal(slices.Sorted(maps.Keys(c.counts(t, r, 4*len(backends)))), backends)
	})
}

// until waits for a condition.
func (c client) until(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(long); !holds(); {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not in a minute: %s", c.name, what)
		}
	}
}

// bothClients returns channels to a target of the control plane: grpc-go's and Weft's.
func bothClients(t *testing.T, cp *meshtest.ControlPlane, target string) []client {
	t.Helper()
	return []client{dialStock(t, cp, target), dialWeft(t, cp, target)}
}

// eachClient runs a test for both.
func eachClient(t *testing.T, cp *meshtest.ControlPlane, target string, test func(t *testing.T, c client)) {
	t.Helper()
	for _, c := range bothClients(t, cp, target) {
		t.Run(c.name, func(t *testing.T) { test(t, c) })
	}
}

// bootstrap is the bootstrap (gRFC A27) with which either client follows the control
// plane.
func bootstrap(t *testing.T, cp *meshtest.ControlPlane, features []string) []byte {
	t.Helper()
	type object map[string]any
	text, err := json.Marshal(object{
		"xds_servers": []object{{
			"server_uri":      cp.Addr,
			"channel_creds":   []object{{"type": "insecure"}},
			"server_features": features,
		}},
		"node": object{"id": t.Name()},
	})
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func dialStock(t *testing.T, cp *meshtest.ControlPlane, target string, features ...string) client {
	t.Helper()
	resolver, err := xds.NewXDSResolverWithConfigForTesting(bootstrap(t, cp, features))
	if err != nil {
		t.Fatal(err)
	}
	conn, err := grpc.NewClient("xds:///"+target, grpc.WithResolvers(resolver),
		grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return client{"grpc-go xDS", conn, stockGap}
}

func dialWeft(t *testing.T, cp *meshtest.ControlPlane, target string, features ...string) client {
	t.Helper()
	m := meshtest.New(t, mesh.WithBootstrap(bootstrap(t, cp, features)), mesh.WithLogger(slog.New(slog.DiscardHandler)))
	conn, err := m.Dial("xds:///" + target)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return client{"Weft", conn, ""}
}

// newBackend answers every method with its name.
func newBackend(t *testing.T, name string) *meshtest.Backend {
	return meshtest.GRPC(t, func(grpc.ServiceRegistrar) {}, grpc.UnknownServiceHandler(func(_ any, s grpc.ServerStream) error {
		if err := s.RecvMsg(new(wrapperspb.StringValue)); err != nil {
			if errors.Is(err, io.EOF) {
				return nil
			}
			return err
		}
		return s.SendMsg(wrapperspb.String(name))
	}))
}

// inTime has connections outlast a machine that stalls: it is longer than any stall.
const inTime = "connectTimeout: 60s"

// service is a line of a policy's services.
func service(name string, backends ...*meshtest.Backend) string {
	var list []string
	for _, b := range backends {
		list = append(list, `"`+b.Addr+`"`)
	}
	return fmt.Sprintf("  %s: {protocol: grpc, %s, endpoints: [%s]}\n", name, inTime, strings.Join(list, ", "))
}

// load calls without a pause until it is stopped.
type load struct {
	client client
	cancel context.CancelFunc
	done   sync.WaitGroup

	mu    sync.Mutex
	more  sync.Cond // calls has grown
	calls int
	errs  []error
}

func startLoad(t *testing.T, c client, r request) *load {
	ctx, cancel := context.WithCancel(context.Background())
	l := &load{client: c, cancel: cancel}
	l.more.L = &l.mu
	for range 4 {
		l.done.Go(func() {
			for ctx.Err() == nil {
				one, cancel := context.WithTimeout(context.Background(), long)
				_, _, err := c.call(one, r)
				cancel()
				l.mu.Lock()
				l.calls++
				if err != nil {
					l.errs = append(l.errs, err)
				}
				l.more.Broadcast()
				l.mu.Unlock()
			}
		})
	}
	t.Cleanup(func() { l.stop(t) })
	return l
}

// await waits for n more calls.
func (l *load) await(n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for until := l.calls + n; l.calls < until; {
		l.more.Wait()
	}
}

// stop ends the load and fails the test if a call had failed.
func (l *load) stop(t *testing.T) {
	t.Helper()
	l.cancel()
	l.done.Wait()
	if len(l.errs) > 0 {
		t.Errorf("%s: %d of %d calls failed; the first: %v", l.client.name, len(l.errs), l.calls, l.errs[0])
	}
	l.errs = nil
}
