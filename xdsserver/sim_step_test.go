package xdsserver

import (
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
)

// The simulation without a network and with all goroutines in one, so that the seed
// decides who does the next step, too: it finds orders that only a busy machine brings
// about, and finds them again.
func TestSimulationInSteps(t *testing.T) {
	seeds := uint64(350)
	if testing.Short() {
		seeds = 35
	}
	for seed := range seeds {
		t.Run(fmt.Sprint("seed=", seed), func(t *testing.T) { simulateInSteps(t, rand.New(rand.NewPCG(seed, 4))) })
	}
}

func simulateInSteps(t *testing.T, rnd *rand.Rand) {
	s := New(Options{Logger: discard()})
	s.patience = time.Hour
	work(t, s, rnd,
		func() *deltaClient {
			l := &line[discovery.DeltaDiscoveryRequest, discovery.DeltaDiscoveryResponse]{steps: newSteps(t, s, rnd, true)}
			return &deltaClient{t: t, stream: l}
		},
		func() *sotwClient {
			l := &line[discovery.DiscoveryRequest, discovery.DiscoveryResponse]{steps: newSteps(t, s, rnd, false)}
			return &sotwClient{t: t, stream: l, names: map[string][]string{}, last: map[string]*discovery.DiscoveryResponse{}}
		})
}

// steps is a stream of which each step is taken when the test says so.
type steps struct {
	*desk
	t    *testing.T
	rnd  *rand.Rand
	in   [][]byte  // requests that the receiver did not take yet
	todo []*answer // what the sender is about to send
	gone bool
}

func newSteps(t *testing.T, s *Server, rnd *rand.Rand, delta bool) *steps {
	t.Helper()
	st := &steps{desk: newDesk(t, s, delta), t: t, rnd: rnd}
	t.Cleanup(st.end)
	return st
}

func (st *steps) end() {
	if !st.gone {
		st.gone = true
		st.close()
	}
}

// step lets the receiver take a request, or the sender send an answer or look for some.
func (st *steps) step() {
	st.t.Helper()
	var err error
	switch {
	case len(st.in) > 0 && st.rnd.IntN(2) == 0:
		raw := st.in[0]
		st.in = st.in[1:]
		err = st.handle(raw)
	case len(st.todo) > 0:
		a := st.todo[0]
		st.todo = st.todo[1:]
		err = st.respond(a)
	default:
		st.look()
	}
	if err != nil {
		st.t.Fatal(err)
	}
}

func (st *steps) look() {
	select {
	case <-st.place.Wake():
		st.todo = st.answers()
	default:
	}
}

// line is the client's end of steps.
type line[Req, Resp any] struct {
	grpc.ClientStream
	*steps
}

func (l *line[Req, Resp]) Send(req *Req) error {
	l.in = append(l.in, marshal(l.t, any(req).(proto.Message)))
	for range l.rnd.IntN(4) {
		l.step()
	}
	return nil
}

func (l *line[Req, Resp]) Recv() (*Resp, error) {
	if l.gone {
		return nil, io.EOF
	}
	for n := 0; len(l.wire.sent) == 0; n++ {
		if n == 100_000 {
			l.t.Fatal("the server does not answer")
		}
		l.step()
	}
	resp := new(Resp)
	err := proto.Unmarshal(l.wire.sent[0], any(resp).(proto.Message))
	l.wire.sent = slices.Delete(l.wire.sent, 0, 1)
	return resp, err
}

func (l *line[Req, Resp]) CloseSend() error {
	l.end()
	return nil
}
