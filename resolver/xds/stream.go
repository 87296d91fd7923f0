package xds

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"
)

// stream is one ADS stream, from opening it to its end. Its receiving goroutine
// is the server's; a second one sends.
type stream struct {
	server  *server
	dialect dialect

	answered bool            // the receiving goroutine's: there was a response
	ignored  map[string]bool // the receiving goroutine's: types that nobody asked for

	introduced bool // the sending goroutine's: the node was sent
}

// run opens the stream and serves it. It returns the error that ended it.
func (st *stream) run(ctx context.Context, t Transport) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	raw, err := t.NewStream(ctx, st.dialect.method())
	if err != nil {
		return err
	}
	st.server.opened(st.dialect)

	var sender sync.WaitGroup
	sender.Go(func() {
		if err := st.send(ctx, raw); err != nil {
			cancel(err)
		}
	})
	defer sender.Wait()
	defer cancel(nil)
	for {
		b, err := raw.Recv()
		if err != nil {
			if cause := context.Cause(ctx); cause != nil && !errors.Is(cause, context.Canceled) {
				return cause
			}
			return err
		}
		if err := st.receive(ctx, b); err != nil {
			return err
		}
	}
}

// receive takes in one response and returns when the watchers have been told.
func (st *stream) receive(ctx context.Context, b []byte) error {
	r, err := st.dialect.parse(b)
	if err != nil {
		return fmt.Errorf("response cannot be read: %w", err)
	}
	st.answered = true
	s := st.server
	s.client.mu.Lock()
	s.failure = nil
	sub := s.subs[r.typeURL]
	if sub == nil || !sub.begun {
		s.client.mu.Unlock()
		// Not answered at all: as the first request of its type the answer would ask
		// for everything.
		st.ignore(r.typeURL)
		return nil
	}
	sub.recall(r)
	s.client.mu.Unlock()

	r.decode(sub.typ)

	s.client.mu.Lock()
	sub.apply(r, st.dialect)
	told := s.client.delivered()
	s.client.mu.Unlock()
	select {
	case <-told:
	case <-ctx.Done():
	}
	return nil
}

// ignore notes a response of a type that was not asked for, once a stream and type.
func (st *stream) ignore(typeURL string) {
	const bound = 16 // what a server sends unasked must not fill memory
	if st.ignored[typeURL] || len(st.ignored) == bound {
		return
	}
	if st.ignored == nil {
		st.ignored = make(map[string]bool)
	}
	st.ignored[typeURL] = true
	st.server.log.Warn("ignoring resources of a type that was not asked for", slog.String("type_url", typeURL))
}

// send sends what there is to say until ctx ends.
func (st *stream) send(ctx context.Context, raw Stream) error {
	for {
		sub, message, asked := st.next()
		if message == nil {
			select {
			case <-ctx.Done():
				return nil
			case <-st.server.work:
			}
			continue
		}
		b, err := proto.Marshal(message)
		if err != nil {
			return fmt.Errorf("request for %s cannot be serialized: %w", sub.typ.Name, err)
		}
		if err := raw.Send(b); err != nil {
			return nil //nolint:nilerr // the receiving side gets the reason
		}
		st.sent(asked)
	}
}

// next makes the request that is due next, or returns a nil message.
func (st *stream) next() (*subscription, proto.Message, []*entry) {
	c := st.server.client
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, t := range c.config.Types {
		sub := st.server.subs[t.URL]
		if sub == nil {
			continue
		}
		for sub.due() {
			node := c.node
			if st.introduced {
				node = nil
			}
			message, asked := st.dialect.request(sub, node)
			if message == nil {
				continue // all that was due cancelled out
			}
			st.introduced = true
			sub.begun = true
			return sub, message, asked
		}
	}
	return nil, nil, nil
}

// sent starts the time in which resources have to arrive, now that the server was
// asked for them (gRFC A57).
func (st *stream) sent(asked []*entry) {
	if len(asked) == 0 {
		return
	}
	c := st.server.client
	expiry := c.config.WatchExpiry
	if st.server.config.ResourceTimerIsTransientFailure {
		expiry *= 2
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	at := time.Now().Add(expiry)
	for _, e := range asked {
		if e.told && e.held == nil && e.state == ResourceRequested {
			e.absentAt = at
			c.arm(at)
		}
	}
}
