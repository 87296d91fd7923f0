package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/weft-mesh/weft/mesh"
)

// path is one way of calling the service: a row of the table.
type path struct {
	name string
	open func(*servers, *mesh.Mesh) (client, error)
}

// client calls along one path.
type client interface {
	// caller returns a function that makes one call and waits for its answer. It is
	// used by one goroutine, which calls stop when it is done.
	caller() (call func() error, stop func(), err error)
	close()
}

// protocol is the paths that are compared with one another: those after the first,
// which is the bare one, with it.
type protocol struct {
	name  string
	paths []path
}

var protocols = []protocol{
	{"gRPC", unaryPaths},
	{"gRPC, a server of 100 streams a connection and 50 ms a call", limitedPaths},
	{"gRPC stream, per message", streamPaths},
	{"HTTP/1.1", http1Paths},
	{"h2c", h2cPaths},
	{"h2c, GET", h2cGetPaths},
}

// control is the bare path a second time, to show how far off the machine is.
func control(bare path) path { return path{"control: the same again", bare.open} }

// newMesh is the mesh that all Weft paths go by.
func newMesh(s *servers) (*mesh.Mesh, error) {
	return mesh.New(mesh.WithServer(s.XDS, mesh.Plaintext()), mesh.WithLogger(slog.New(slog.DiscardHandler)))
}

func closeMesh(m *mesh.Mesh) error {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	return m.Close(ctx)
}

// unary calls by gRPC.
type unary struct{ conn *grpc.ClientConn }

func (u unary) caller() (func() error, func(), error) {
	in := wrapperspb.Bytes(payload)
	return func() error {
		return u.conn.Invoke(context.Background(), echoPath, in, new(wrapperspb.BytesValue))
	}, func() {}, nil
}

func (u unary) close() { _ = u.conn.Close() }

// stream sends messages on a stream of each caller's own.
type stream struct{ conn *grpc.ClientConn }

func (s stream) caller() (func() error, func(), error) {
	ctx, cancel := context.WithCancel(context.Background())
	st, err := s.conn.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true, ClientStreams: true}, streamPath)
	if err != nil {
		cancel()
		return nil, nil, err
	}
	in := wrapperspb.Bytes(payload)
	return func() error {
		if err := st.SendMsg(in); err != nil {
			return err
		}
		return st.RecvMsg(new(wrapperspb.BytesValue))
	}, cancel, nil
}

func (s stream) close() { _ = s.conn.Close() }

// exchange calls by HTTP: a GET, or a POST of the payload, whose answer is read to its end.
type exchange struct {
	client *http.Client
	method string
	next   func() (url string) // of a request
	closed func()
}

func (e exchange) caller() (func() error, func(), error) {
	return func() error {
		body := io.Reader(http.NoBody)
		if e.method != http.MethodGet {
			body = bytes.NewReader(payload)
		}
		req, err := http.NewRequestWithContext(context.Background(), e.method, e.next(), body)
		if err != nil {
			return err
		}
		resp, err := e.client.Do(req)
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		n, err := io.Copy(io.Discard, resp.Body)
		if err == nil && (n != int64(len(payload)) || resp.StatusCode != http.StatusOK) {
			err = fmt.Errorf("%s with %d bytes", resp.Status, n)
		}
		return err
	}, func() {}, nil
}

func (e exchange) close() { e.closed() }
