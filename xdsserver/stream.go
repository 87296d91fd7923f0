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

// patience is how long a client that reconnected may take to answer before it is told
// of what is gone.
const patience = time.Second

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
		answerType := sub.answerSotW
		if st.delta {
			answerType = sub.answerDelta
		}
		first := !sub.answered
		a, b := answerType(d, set)
		if first && len(sub.leaving) > 0 {
			time.AfterFunc(patience, func() { st.hurry(sub) })
		}
		if a != nil {
			now = append(now, a)
		}
		if b != nil {
			last = append(last, b)
		}
	}
	slices.SortStableFunc(last, func(a, b *answer) int {
		return cmp.Compare(breakRank(a.sub.typeURL), breakRank(b.sub.typeURL))
	})
	all := append(now, last...)
	for _, a := range all {
		a.sub.outgoing++
	}
	return all
}

// hurry makes the sender tell of what is leaving though the client has answered nothing.
func (st *stream) hurry(sub *subscription) {
	st.mu.Lock()
	defer st.mu.Unlock()
	sub.overdue = true
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
