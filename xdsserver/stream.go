package xdsserver

import (
	"cmp"
	"context"
	"errors"
	"io"
	"slices"
	"strconv"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/status"

	"github.com/weft-mesh/weft/xdsserver/policy"
	"github.com/weft-mesh/weft/xdsserver/store"
)

// maxTypes is how many types one stream may subscribe to.
const maxTypes = 64

// stream is one client's stream. It has two goroutines: the handler's own sends,
// and one receives. The receiver never waits for the sender: requests change the
// subscriptions, which the sender looks at when it is done with what it is doing.
// So a client that does not read costs a subscription and one unsent response,
// and a client that sends without reading is still understood.
type stream struct {
	server *Server
	grpc   grpc.ServerStream
	place  *store.Subscriber
	id     uint64

	delta   bool
	typeURL string // the only type of the stream; empty for an aggregated one

	end chan error // capacity 1: why the sender shall end the stream

	// The receiver's alone.
	identified bool // a node was read
	envoy      bool
	subscribed int // bytes, as Options.MaxSubscriptionBytes counts them

	mu     sync.Mutex
	client Client // without Types
	subs   []*subscription
	nonce  uint64
	rewarm bool // clusters were sent, state of the world: see warms

	// Delta: see farewells.
	hurrying bool // overdue is about to be set
	overdue  bool // the client took too long to answer
}

// serve runs the stream until the client, the server or an error ends it.
func (s *Server) serve(gs grpc.ServerStream, typeURL string, delta bool) error {
	st := &stream{server: s, grpc: gs, typeURL: typeURL, delta: delta, end: make(chan error, 1)}
	if err := s.admit(st); err != nil {
		return err
	}
	defer s.dismiss(st)

	received := make(chan error, 1)
	s.receivers.Add(1)
	go func() { // ends at the latest when this function returns: gRPC then fails RecvMsg
		defer s.receivers.Done()
		defer st.leave()
		received <- st.receive()
	}()
	return st.send(gs.Context(), received)
}

func (st *stream) receive() error {
	for {
		var msg inbound
		if err := st.grpc.RecvMsg(&msg); err != nil {
			if errors.Is(err, io.EOF) {
				return nil
			}
			return err
		}
		err := st.handle(msg.bytes())
		msg.free()
		if err != nil {
			return err
		}
	}
}

// leave takes the stream out of the store. It is the receiver's last act, since it
// is the receiver who subscribes.
func (st *stream) leave() {
	for _, sub := range st.subs {
		st.place.Unsubscribe(sub.typeURL, sub.names)
		st.place.SetWildcard(sub.typeURL, false)
	}
	st.place.Close()
}

func (st *stream) send(ctx context.Context, received <-chan error) error {
	for {
		select {
		case <-ctx.Done():
			return status.FromContextError(ctx.Err()).Err()
		case err := <-received:
			return err
		case err := <-st.end:
			return err
		case <-st.place.Wake():
		}
		for _, a := range st.answers() {
			if err := st.respond(a); err != nil {
				return err
			}
		}
	}
}

// answers returns what the client has to be told, in the order in which it has to
// be told. The client counts as told.
func (st *stream) answers() []*answer {
	st.mu.Lock()
	defer st.mu.Unlock()
	// Under mu: a request that was handled before is in the index since before the
	// set was taken, and one that is handled later is answered next time.
	dirty, set := st.place.Take()
	if set == nil {
		return nil // what does not exist is known with the first set
	}
	var now, last []*answer
	for _, sub := range st.subs { // in makeOrder
		var d *store.Dirty
		if i := slices.IndexFunc(dirty, func(d store.Dirty) bool { return d.TypeURL == sub.typeURL }); i >= 0 {
			d = &dirty[i]
		}
		if !sub.pending(d) {
			continue
		}
		var a, b *answer
		if st.delta {
			a = sub.answerDelta(d, set)
		} else {
			a, b = sub.answerSotW(d, set)
		}
		if a != nil {
			now = append(now, a)
		}
		if b != nil {
			last = append(last, b)
		}
	}
	last = append(last, st.farewells(set)...)
	slices.SortStableFunc(last, func(a, b *answer) int {
		return cmp.Compare(breakRank(a.sub.typeURL), breakRank(b.sub.typeURL))
	})
	all := append(now, last...)
	for _, a := range all {
		a.sub.outgoing++
	}
	return all
}

// farewells returns what tells a delta client of what is gone, unless it is too early.
//
// A client that reconnects asks for one type after the other. What is gone of
// clusters, before or since, may be in use by the routes that it still has, and is
// going to learn the successors of when it has asked for routes. So it is told at
// first only what there is, if need be by an empty response. When it acknowledges
// that, all that it asked for from the beginning has been answered. What is gone of
// other types waits too, since it may be what the clusters refer to.
func (st *stream) farewells(set *store.Set) (last []*answer) {
	if !st.overdue && slices.ContainsFunc(st.subs, (*subscription).waits) {
		if !st.hurrying {
			st.hurrying = true
			time.AfterFunc(st.server.patience, st.hurry)
		}
		return nil
	}
	for _, sub := range st.subs {
		if a := sub.farewell(set); a != nil {
			last = append(last, a)
		}
	}
	return last
}

// hurry makes the sender tell of what is leaving though the client has not answered.
func (st *stream) hurry() {
	st.mu.Lock()
	defer st.mu.Unlock()
	st.overdue = true
	st.place.Nudge()
}

// respond sends an answer in as many messages as it takes.
func (st *stream) respond(a *answer) error {
	whole := !st.delta && isRoot(a.sub.typeURL)
	for rest := true; rest; {
		var piece answer
		piece, rest = a.cut(maxResponse, whole, st.delta)
		st.mu.Lock()
		st.nonce++
		nonce := st.nonce
		a.sub.ack.respond(nonce, a.version)
		if !rest {
			a.sub.outgoing--
		}
		if whole && a.sub.typeURL == policy.ClusterType {
			st.rewarm = true
		}
		st.mu.Unlock()
		if err := st.grpc.SendMsg(piece.encode(strconv.FormatUint(nonce, 10), st.delta)); err != nil {
			return err
		}
	}
	return nil
}

// find returns the subscription of a type, or nil. It is called by the receiver or
// with mu held.
func (st *stream) find(typeURL string) *subscription {
	for _, sub := range st.subs {
		if sub.typeURL == typeURL {
			return sub
		}
	}
	return nil
}

// add puts a subscription in makeOrder among the others. It is called by the
// receiver with mu held.
func (st *stream) add(sub *subscription) {
	i, _ := slices.BinarySearchFunc(st.subs, sub, func(a, b *subscription) int {
		return cmp.Or(cmp.Compare(makeRank(a.typeURL), makeRank(b.typeURL)), cmp.Compare(a.typeURL, b.typeURL))
	})
	st.subs = slices.Insert(st.subs, i, sub)
}
