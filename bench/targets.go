package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"runtime"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/weft-mesh/weft/mesh"
)

// targetCost is what a further target costs a process that has some already: one
// that was called until it was connected to its three endpoints.
type targetCost struct {
	name       string
	bytes      float64 // live heap and goroutine stacks
	goroutines float64
	streams    int // ADS streams of all targets together
}

// targetKinds are what targets are measured of.
var targetKinds = []func(context.Context, *servers, int) (targetCost, error){
	bareTargets, weftTargets, weftHTTPTargets, weftHTTPHandles,
}

// printTargets prints what further targets cost, measured over n of them.
func printTargets(ctx context.Context, out io.Writer, s *servers, n int) error {
	fmt.Fprintf(out, "\n| a further target, over %d | KB | goroutines | ADS streams of all %d |\n| --- | --- | --- | --- |\n", n, n+firstTargets)
	for _, open := range targetKinds {
		c, err := open(ctx, s, n)
		if err != nil {
			return fmt.Errorf("%s: %w", c.name, err)
		}
		fmt.Fprintf(out, "| %s | %.1f | %.1f | %d |\n", c.name, c.bytes/1000, c.goroutines, c.streams)
	}
	return nil
}

// firstTargets come before the further ones and bear what is paid once.
const firstTargets = 4

// costOf opens targets and keeps them while it looks.
func costOf(ctx context.Context, s *servers, name string, n int, open func(i int) (func(), error)) (c targetCost, err error) {
	c.name = name
	if n+firstTargets > furtherTargets {
		return c, fmt.Errorf("there are just %d targets", furtherTargets)
	}
	streamsBefore, err := settledStreams(ctx, s)
	if err != nil {
		return c, err
	}
	var bytesBefore, goroutinesBefore float64
	for i := range firstTargets + n {
		if i == firstTargets {
			bytesBefore, goroutinesBefore = footprint()
		}
		closeTarget, err := open(i)
		if err != nil {
			return c, err
		}
		defer closeTarget()
	}
	bytes, goroutines := footprint()
	c.bytes, c.goroutines = (bytes-bytesBefore)/float64(n), (goroutines-goroutinesBefore)/float64(n)
	streams, err := s.adsStreams(ctx)
	c.streams = streams - streamsBefore
	return c, err
}

// settledStreams is the number of ADS streams once the control plane has noticed
// which ones ended.
func settledStreams(ctx context.Context, s *servers) (n int, err error) {
	err = settle(func() int {
		var failed error
		if n, failed = s.adsStreams(ctx); failed != nil {
			err = failed
		}
		return n
	})
	return n, err
}

// footprint is what the process holds when it has come to rest.
func footprint() (bytes, goroutines float64) {
	_ = settle(runtime.NumGoroutine)
	// Twice, for what is in a sync.Pool.
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return float64(m.HeapAlloc + m.StackInuse), float64(runtime.NumGoroutine())
}

// settle waits until a number has not changed for a fifth of a second.
func settle(number func() int) error {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	last, same := number(), 0
	for range 3000 {
		<-tick.C
		if now := number(); now == last {
			if same++; same == 20 {
				return nil
			}
		} else {
			last, same = now, 0
		}
	}
	return errors.New("does not come to rest")
}

func bareTargets(ctx context.Context, s *servers, n int) (targetCost, error) {
	return costOf(ctx, s, "bare grpc-go, round_robin over 3", n, func(int) (func(), error) {
		return connected(ctx, func() (*grpc.ClientConn, error) { return dialBare(s, nil) })
	})
}

func weftTargets(ctx context.Context, s *servers, n int) (targetCost, error) {
	return withMesh(s, func(m *mesh.Mesh) (targetCost, error) {
		return costOf(ctx, s, "Weft, gRPC", n, func(i int) (func(), error) {
			return connected(ctx, func() (*grpc.ClientConn, error) { return m.Dial(furtherTarget("grpc", i)) })
		})
	})
}

func weftHTTPTargets(ctx context.Context, s *servers, n int) (targetCost, error) {
	return withMesh(s, func(m *mesh.Mesh) (targetCost, error) {
		return costOf(ctx, s, "Weft, HTTP/1.1", n, func(i int) (func(), error) {
			return connectedHTTP(ctx, m.HTTPClient(), furtherTarget("http", i))
		})
	})
}

func weftHTTPHandles(ctx context.Context, s *servers, n int) (targetCost, error) {
	return withMesh(s, func(m *mesh.Mesh) (targetCost, error) {
		return costOf(ctx, s, "Weft, HTTP/1.1, a further client of the same target", n, func(int) (func(), error) {
			return connectedHTTP(ctx, m.HTTPClient(), furtherTarget("http", 0))
		})
	})
}

func withMesh(s *servers, measure func(*mesh.Mesh) (targetCost, error)) (c targetCost, err error) {
	m, err := newMesh(s)
	if err != nil {
		return c, err
	}
	defer func() { err = errors.Join(err, closeMesh(m)) }()
	return measure(m)
}

// connected dials and calls until every backend has answered.
func connected(ctx context.Context, dial func() (*grpc.ClientConn, error)) (func(), error) {
	conn, err := dial()
	if err != nil {
		return nil, err
	}
	err = untilAll(ctx, func(ctx context.Context) (string, error) {
		reply := new(wrapperspb.BytesValue)
		err := conn.Invoke(ctx, whoPath, &wrapperspb.BytesValue{}, reply)
		return string(reply.GetValue()), err
	})
	return func() { conn.Close() }, err
}

func connectedHTTP(ctx context.Context, c *http.Client, target string) (func(), error) {
	err := untilAll(ctx, func(ctx context.Context) (string, error) {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+target+whoPath, nil)
		if err != nil {
			return "", err
		}
		resp, err := c.Do(req)
		if err != nil {
			return "", err
		}
		defer resp.Body.Close()
		name, err := io.ReadAll(resp.Body)
		return string(name), err
	})
	return c.CloseIdleConnections, err
}

// untilAll calls until three have answered.
func untilAll(ctx context.Context, who func(context.Context) (string, error)) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	answered := map[string]bool{}
	for len(answered) < backends {
		name, err := who(ctx)
		if err != nil {
			return err
		}
		answered[name] = true
	}
	return nil
}
