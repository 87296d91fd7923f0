package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	"github.com/weft-mesh/weft/examples/internal/shop"
)

const callers = 8

// load calls both services without a pause and counts who answered.
type load struct {
	cancel context.CancelFunc
	done   sync.WaitGroup

	mu     sync.Mutex
	counts map[kind]map[string]int // by version, since the last reset
	calls  int
	failed int
	err    error // the first
}

// kind is what calls are counted by.
type kind struct {
	protocol string
	canary   bool
}

func startLoad(ctx context.Context, conn *grpc.ClientConn, client *http.Client) *load {
	ctx, cancel := context.WithCancel(ctx)
	l := &load{cancel: cancel}
	l.reset()
	for i := range callers {
		get := func(ctx context.Context, canary bool) (string, error) { return getHTTP(ctx, client, canary) }
		protocol := "HTTP"
		if i%2 == 0 {
			protocol = "gRPC"
			get = func(ctx context.Context, canary bool) (string, error) { return getGRPC(ctx, conn, canary) }
		}
		l.done.Go(func() { l.call(ctx, protocol, get) })
	}
	return l
}

// call calls until the load is stopped; every fourth call is a canary's.
func (l *load) call(ctx context.Context, protocol string, get func(context.Context, bool) (string, error)) {
	for i := 0; ctx.Err() == nil; i++ {
		canary := i%4 == 3
		// A call in flight is let finish: the load stops between calls.
		one, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
		version, err := get(one, canary)
		cancel()
		l.mu.Lock()
		l.calls++
		if err != nil {
			l.failed++
			if l.err == nil {
				l.err = fmt.Errorf("%s: %w", protocol, err)
			}
		} else {
			k := kind{protocol, canary}
			if l.counts[k] == nil {
				l.counts[k] = map[string]int{}
			}
			l.counts[k][version]++
		}
		l.mu.Unlock()
	}
}

func getGRPC(ctx context.Context, conn *grpc.ClientConn, canary bool) (string, error) {
	if canary {
		ctx = metadata.AppendToOutgoingContext(ctx, "x-canary", "1")
	}
	return shop.Get(ctx, conn, "7")
}

func getHTTP(ctx context.Context, client *http.Client, canary bool) (string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://shop/orders/7", nil)
	if err != nil {
		return "", err
	}
	if canary {
		req.Header.Set("X-Canary", "1")
	}
	resp, err := client.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	version, err := io.ReadAll(resp.Body)
	return string(version), err
}

// reset forgets who answered so far.
func (l *load) reset() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.counts = map[kind]map[string]int{}
}

// seen returns who answered calls of these kinds since the last reset.
func (l *load) seen(kinds ...kind) (counts map[string]int, total int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	counts = map[string]int{}
	for _, k := range kinds {
		for version, n := range l.counts[k] {
			counts[version] += n
			total += n
		}
	}
	return counts, total
}

// stop ends the load and tells how many calls there were.
func (l *load) stop() (failed, calls int) {
	l.cancel()
	l.done.Wait()
	return l.failed, l.calls
}

func (l *load) firstError() error { return l.err }
