package mesh_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/weft-mesh/weft/mesh"
)

// modelAddress is where the backend of a model is.
const modelAddress = "192.0.2.1:80"

// modelDeadline is of each call.
const modelDeadline = time.Minute

// modelMesh is a mesh with the service orders, at modelAddress, and one route, of these
// fields. One retry at a time is allowed, so that the next call shows whether its place was
// given back.
func modelMesh(t *testing.T, protocol, route string) *mesh.Mesh {
	m, err := mesh.New(mesh.WithLogger(slog.New(slog.DiscardHandler)), mesh.WithPolicy(fmt.Appendf(nil,
		"services: {orders: {protocol: %s, endpoints: [%q], limits: {maxRetries: 1}}}\nroutes: {orders: [{to: orders, %s}]}", protocol, modelAddress, route)))
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// streamRun is a stream and the model that it is held to.
type streamRun struct {
	*testing.T
	model    streamModel
	mesh     *mesh.Mesh
	backend  *modelled
	conn     *grpc.ClientConn
	stream   grpc.ClientStream
	cancel   context.CancelFunc
	canceled bool
	got      []received

	trailer  metadata.MD // by the call option
	mu       sync.Mutex
	finished []error
}

// runStream has a stream do what a case says, and compares. Time is synctest's, unless the
// application sends and receives at once: while one waits for a retry's time, the other
// waits for a lock, which synctest does not take for waiting.
func runStream(t *testing.T, c streamCase) {
	r := &streamRun{model: streamModel{streamCase: &c, attempt: 1}, backend: &modelled{moves: c.moves}}
	if c.concurrent {
		r.all(t)
	} else {
		synctest.Test(t, r.all)
	}
	runtime.KeepAlive(r) // grpc's channel must not become garbage within the bubble
}

func (r *streamRun) all(t *testing.T) {
	r.T = t
	c, n := r.model.streamCase, &memory{}
	defer serveMemory(t, n, modelAddress, r.backend)()
	on := "unavailable"
	if c.resets {
		on += ", reset"
	}
	perTry := ""
	if c.perTry > 0 {
		perTry = "perTryTimeout: " + c.perTry.String() + ", "
	}
	r.mesh = modelMesh(t, "grpc", fmt.Sprintf("retry: {attempts: %d, on: [%s], %sbufferLimit: %d, backOff: {baseInterval: 1ms}}", c.attempts, on, perTry, c.limit))
	r.dial(n)
	r.run()
	r.finish()
	if t.Failed() {
		t.Logf("%+v", *c)
		for i, a := range r.got {
			t.Logf("attempt %d: %q, to the end: %v", i+1, a.parts, a.all)
		}
	}
}

// await waits until the call has ended.
func (r *streamRun) await() {
	if !r.model.concurrent {
		synctest.Wait()
		return
	}
	for begun := time.Now(); time.Since(begun) < long; runtime.Gosched() {
		r.mu.Lock()
		ended := len(r.finished) > 0
		r.mu.Unlock()
		if ended {
			return
		}
	}
}

func (r *streamRun) dial(n *memory) {
	var err error
	r.conn, err = r.mesh.Dial("orders", grpc.WithContextDialer(func(ctx context.Context, address string) (net.Conn, error) {
		return n.dial(ctx, "tcp", address)
	}))
	if err != nil {
		r.Fatal(err)
	}
	var ctx context.Context
	ctx, r.cancel = context.WithTimeout(context.Background(), modelDeadline)
	r.stream, err = r.conn.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true, ClientStreams: true}, "/a/b",
		grpc.Trailer(&r.trailer), grpc.OnFinish(func(err error) {
			r.mu.Lock()
			defer r.mu.Unlock()
			r.finished = append(r.finished, err)
		}))
	if err != nil {
		r.Fatal(err)
	}
}

// run has the application do what it is to, and then close its side and receive the rest.
func (r *streamRun) run() {
	m := &r.model
	if m.concurrent {
		r.runConcurrently()
		return
	}
	for i, op := range m.ops {
		if i == m.cancel {
			r.cancel()
			r.canceled = true
		}
		synctest.Wait()
		if r.do(op); m.over {
			return
		}
		if kept := mesh.Kept(r.mesh); kept > int64(m.limit) {
			r.Errorf("%d bytes are kept, more than %d", kept, m.limit)
		}
	}
	r.do(opCloseSend)
	for !m.over {
		synctest.Wait()
		r.do(opRecv)
	}
}

func (r *streamRun) do(op streamOp) {
	m := &r.model
	switch op {
	case opSend:
		if m.closed {
			return
		}
		m.send()
		if err := r.stream.SendMsg(wrapperspb.String(m.sent[len(m.sent)-1])); err != nil && !(errors.Is(err, io.EOF) && m.committed) && !r.canceled {
			r.Errorf("SendMsg: %v, committed: %v", err, m.committed)
		}
	case opCloseSend:
		m.closed = true
		if err := r.stream.CloseSend(); err != nil {
			r.Errorf("CloseSend: %v", err)
		}
	case opHeader:
		header, err := r.stream.Header()
		want := m.settle()
		if err != nil || m.over && header != nil {
			r.Errorf("Header: %v, %v, want it over: %v", header, err, m.over)
		}
		switch {
		case m.over || r.canceled && header == nil:
			err := r.stream.RecvMsg(new(wrapperspb.StringValue)) // which says why
			if !r.endedByCancel(err) {
				r.compareCode(err)
			}
		case want && r.number(header, "attempt") != m.attempt:
			r.Errorf("Header of attempt %v, want %d", header, m.attempt)
		}
	case opRecv:
		r.recv()
	case opWait:
		time.Sleep(2 * m.perTry)
	}
}

func (r *streamRun) recv() {
	m := &r.model
	reply := new(wrapperspb.StringValue)
	err := r.stream.RecvMsg(reply)
	if r.endedByCancel(err) {
		return
	}
	switch want, ok := m.recv(); {
	case ok && (err != nil || reply.GetValue() != want):
		r.Errorf("RecvMsg: %q, %v; want %q", reply.GetValue(), err, want)
		m.over = true
	case !ok && err == nil:
		r.Errorf("RecvMsg: %q, want the end with %v", reply.GetValue(), m.code)
	case !ok:
		r.compareCode(err)
	}
}

// endedByCancel reports whether the application's own cancellation ended the call. What
// had come of the attempt in use by then may be what the application gets to see.
func (r *streamRun) endedByCancel(err error) bool {
	if !r.canceled || err == nil || errors.Is(err, io.EOF) {
		return false
	}
	r.model.end(status.Code(err))
	return true
}

func (r *streamRun) compareCode(err error) {
	if errors.Is(err, io.EOF) {
		err = nil
	}
	if status.Code(err) != r.model.code {
		r.Errorf("the call ended with %v, want %v", err, r.model.code)
	}
}

// runConcurrently sends and receives at once. If more is sent than is kept, which attempt
// is the last is for the scheduler to say.
func (r *streamRun) runConcurrently() {
	m := &r.model
	for _, op := range m.ops {
		if op == opSend {
			m.send()
		}
	}
	sent := m.sent
	over := m.committed
	m.closed = true
	var sender sync.WaitGroup
	sender.Go(func() {
		for _, text := range sent {
			if err := r.stream.SendMsg(wrapperspb.String(text)); err != nil && !errors.Is(err, io.EOF) {
				r.Errorf("SendMsg: %v", err)
			}
		}
		if err := r.stream.CloseSend(); err != nil {
			r.Errorf("CloseSend: %v", err)
		}
	})
	if slices.Contains(m.ops, opHeader) {
		sender.Go(func() {
			if _, err := r.stream.Header(); err != nil {
				r.Errorf("Header: %v", err)
			}
		})
	}
	defer sender.Wait()
	if !over {
		for !m.over && !r.Failed() {
			r.recv()
		}
		return
	}
	for {
		reply := new(wrapperspb.StringValue)
		if err := r.stream.RecvMsg(reply); err != nil {
			m.end(status.Code(err))
			if errors.Is(err, io.EOF) {
				m.end(codes.OK)
			}
			m.attempt = 0
			return
		}
		if m.replied++; reply.GetValue() != sent[m.replied-1] {
			r.Errorf("reply %q, want %q", reply.GetValue(), sent[m.replied-1])
		}
	}
}

func (r *streamRun) number(md metadata.MD, name string) int {
	list := md.Get(name)
	if len(list) == 0 {
		return 0
	}
	n, err := strconv.Atoi(list[0])
	if err != nil {
		r.Errorf("%s: %v", name, err)
	}
	return n
}

// finish compares what is left of the call.
func (r *streamRun) finish() {
	m := &r.model
	r.await()
	got := r.backend.attempts()
	r.got = got
	for i, a := range got {
		if !m.prefix(a.parts) || a.all && (!m.closed || len(a.parts) != len(m.sent)) {
			r.Errorf("attempt %d was sent %q, to the end: %v, of %q", i+1, a.parts, a.all, m.sent)
		}
		if want := strconv.Itoa(i); i > 0 && a.count != want || i == 0 && a.count != "" {
			r.Errorf("attempt %d says that there were %q before", i+1, a.count)
		}
	}
	switch {
	case m.attempt == 0 || r.canceled:
		if len(got) > m.attempts {
			r.Errorf("%d attempts, want at most %d", len(got), m.attempts)
		}
	case len(got) != m.attempt:
		r.Errorf("%d attempts, want %d", len(got), m.attempt)
	default:
		if want, moved := m.reads(); moved && len(got[m.attempt-1].parts) != len(want) {
			r.Errorf("the last attempt was sent %q, want %q", got[m.attempt-1].parts, want)
		}
		if do := m.now().do; m.code != codes.DeadlineExceeded && (do == endAnswer || do == endFail || do == endFailBegun) && r.number(r.trailer, "end") != m.attempt {
			r.Errorf("trailer %v, want that of attempt %d", r.trailer, m.attempt)
		}
	}
	r.cancel()
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.finished) != 1 || status.Code(r.finished[0]) != m.code && !r.canceled {
		r.Errorf("OnFinish was called with %v, want once with %v", r.finished, m.code)
	}
	if n := mesh.Kept(r.mesh); n != 0 {
		r.Errorf("%d bytes are kept", n)
	}
	r.callAgain()
	_ = r.conn.Close()
	if err := r.mesh.Close(within(r, modelDeadline)); err != nil {
		r.Errorf("the call is in flight: %v", err)
	}
}

// callAgain makes a call that is retried once.
func (r *streamRun) callAgain() {
	r.backend.restart([]move{{do: endFail, status: codes.Unavailable}, {read: -1}})
	reply := new(wrapperspb.StringValue)
	err := r.conn.Invoke(within(r, modelDeadline), "/a/b", wrapperspb.String("again"), reply)
	if err != nil || reply.GetValue() != "again" {
		r.Errorf("the next call: %q, %v", reply.GetValue(), err)
	}
}

// TestStreamModel holds streams under retry to the model (row Z1).
func TestStreamModel(t *testing.T) {
	const seed = 1
	random := rand.New(rand.NewPCG(seed, 0))
	for i := range 400 {
		data := make([]byte, 40)
		for j := range data {
			data[j] = byte(random.Uint32())
		}
		if runStream(t, drawStream(data)); t.Failed() {
			t.Fatalf("seed %d, stream %d: %x", seed, i, data)
		}
	}
}

// FuzzStream is TestStreamModel with cases of the fuzzer.
func FuzzStream(f *testing.F) {
	f.Add([]byte{2, 0, 1, 3, 0, 1, 2, 0, 1, 0, 0, 2, 1, 0, 5, 0, 0, 1, 2, 3})
	f.Add([]byte{12, 157, 255, 2, 0, 1, 1, 0, 11, 7, 136, 249}) // a committed attempt takes too long
	// An attempt fails while it is still sent what was sent before, and the next is not due.
	f.Add([]byte{2, 0, 5, 171, 129, 150, 237, 125, 213, 1, 3, 0, 1, 2, 0, 1, 0, 0, 1, 5, 2, 0, 0, 0, 1, 2, 16})
	f.Fuzz(func(t *testing.T, data []byte) { runStream(t, drawStream(data)) })
}
