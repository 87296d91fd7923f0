package mesh_test

import (
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// trouble is what ails a backend.
type trouble int

const (
	well        trouble = iota
	crashed             // its connections are gone, and new ones are refused
	refusing            // new connections are refused, those there are stay
	hanging             // no call is answered before it ends
	slowed              // calls take long
	resetting           // calls are reset, some of them after their header
	unavailable         // 503, UNAVAILABLE
	goingAway           // each connection is told to go after a call: GOAWAY, Connection: close
	troubles
)

func (t trouble) String() string {
	return [...]string{"well", "crashed", "refusing", "hanging", "slow", "resetting", "unavailable", "going away"}[t]
}

// troubled is a backend of a chaos run: an echo by gRPC, HTTP/1.1 and h2c at one address,
// in trouble as it is told.
type troubled struct {
	tb       testing.TB
	net      chaosNetwork
	address  string
	echo     *grpc.Server
	conns    atomic.Int64 // open
	attempts sync.Map     // of each client, by its name: *atomic.Int64
	useless  sync.Map     // those while no backend is available
	out      *atomic.Bool // no backend is available

	mu     sync.Mutex
	ails   trouble
	eased  chan struct{} // closed when the trouble ends
	server *http.Server  // nil while it is crashed
	closer io.Closer     // the listener; nil for none
	served sync.WaitGroup
}

func startTroubled(tb testing.TB, n chaosNetwork, address string, out *atomic.Bool) *troubled {
	b := &troubled{tb: tb, net: n, address: address, out: out, eased: make(chan struct{})}
	b.echo = grpc.NewServer(grpc.UnknownServiceHandler(echoStream))
	b.listen()
	return b
}

// echoStream answers each message with itself.
func echoStream(_ any, s grpc.ServerStream) error {
	for {
		m := new(wrapperspb.StringValue)
		switch err := s.RecvMsg(m); {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		}
		if err := s.SendMsg(m); err != nil {
			return err
		}
	}
}

// listen has the backend accept connections. The caller holds b.mu, or has b to itself.
func (b *troubled) listen() {
	if b.server == nil {
		b.server = &http.Server{Handler: b, Protocols: new(http.Protocols)}
		b.server.Protocols.SetHTTP1(true)
		b.server.Protocols.SetUnencryptedHTTP2(true)
	}
	l := b.net.listen(b.tb, b.address)
	b.closer = l
	server := b.server
	b.served.Go(func() { _ = server.Serve(countedListener{l, &b.conns}) })
}

// set gives the backend a trouble in place of the one it has.
func (b *troubled) set(t trouble) {
	b.mu.Lock()
	defer b.mu.Unlock()
	close(b.eased)
	b.ails, b.eased = t, make(chan struct{})
	switch {
	case t == crashed:
		_ = b.server.Close()
		b.server, b.closer = nil, nil
	case t == refusing && b.closer != nil:
		_ = b.closer.Close()
		b.closer = nil
	case t != refusing && b.closer == nil:
		b.listen()
	}
}

// stop ends the backend.
func (b *troubled) stop() {
	b.set(crashed)
	b.served.Wait()
	b.echo.Stop()
}

// of is the count of a client.
func of(m *sync.Map, client string) *atomic.Int64 {
	n, ok := m.Load(client)
	if !ok {
		n, _ = m.LoadOrStore(client, new(atomic.Int64))
	}
	return n.(*atomic.Int64)
}

func (b *troubled) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	client := r.Header.Get("client")
	of(&b.attempts, client).Add(1)
	b.mu.Lock()
	ails, eased := b.ails, b.eased
	b.mu.Unlock()
	if b.out.Load() {
		ails = unavailable
		of(&b.useless, client).Add(1)
	}
	rpc := strings.HasPrefix(r.Header.Get("Content-Type"), "application/grpc")
	pause(r.Context(), nil, time.Duration(2+rand.IntN(8))*time.Millisecond)
	switch ails {
	case hanging:
		if !pause(r.Context(), eased, time.Hour) {
			return
		}
	case slowed:
		pause(r.Context(), nil, time.Duration(20+rand.IntN(200))*time.Millisecond)
	case resetting:
		if rand.IntN(8) == 0 {
			if w.Header().Set("Content-Length", "1000"); rpc {
				w.Header().Set("Content-Type", "application/grpc")
				w.Header().Del("Content-Length")
			}
			_ = http.NewResponseController(w).Flush()
		}
		panic(http.ErrAbortHandler)
	case unavailable:
		if rpc {
			w.Header().Set("Content-Type", "application/grpc")
			w.Header().Set("Grpc-Status", "14")
			return
		}
		w.WriteHeader(http.StatusServiceUnavailable)
		_, _ = io.WriteString(w, strings.Repeat("unavailable ", 500))
		return
	case goingAway:
		w.Header().Set("Connection", "close")
	}
	if rpc {
		b.echo.ServeHTTP(w, r)
		return
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	_, _ = w.Write(body)
}

// pause waits for d or for more to close; false means that ctx ended.
func pause(ctx context.Context, more <-chan struct{}, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-more:
	case <-ctx.Done():
		return false
	}
	return true
}
