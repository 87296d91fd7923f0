package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// The service that is called: bench.Echo, by gRPC and by HTTP.
const (
	// backends is how many serve each protocol.
	backends = 3

	echoPath = "/bench.Echo/Call" // answers with what it is sent, and HTTP's GET with a payload
	// streamPath answers each message of a stream with itself.
	streamPath = "/bench.Echo/Stream"
	whoPath    = "/bench.Echo/Who" // answers with the backend's name
	// echoPrefix is the last route of every table.
	echoPrefix = "/bench.Echo/"
)

// payload is what calls carry each way.
var payload = make([]byte, 100)

const (
	limitedStreams = 100
	limitedDelay   = 50 * time.Millisecond
)

// newLimitedBackend takes so many streams on a connection, and as long for a call.
func newLimitedBackend() *grpc.Server {
	return newGRPCBackend("limited", grpc.MaxConcurrentStreams(limitedStreams), grpc.UnaryInterceptor(
		func(ctx context.Context, req any, _ *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
			time.Sleep(limitedDelay)
			return next(ctx, req)
		}))
}

func newGRPCBackend(name string, opts ...grpc.ServerOption) *grpc.Server {
	method := func(answer func(*wrapperspb.BytesValue) *wrapperspb.BytesValue) grpc.MethodHandler {
		return func(_ any, ctx context.Context, decode func(any) error, around grpc.UnaryServerInterceptor) (any, error) {
			in := new(wrapperspb.BytesValue)
			if err := decode(in); err != nil {
				return nil, err
			}
			if around == nil {
				return answer(in), nil
			}
			return around(ctx, in, nil, func(context.Context, any) (any, error) { return answer(in), nil })
		}
	}
	s := grpc.NewServer(opts...)
	s.RegisterService(&grpc.ServiceDesc{
		ServiceName: "bench.Echo",
		HandlerType: (*any)(nil),
		Methods: []grpc.MethodDesc{
			{MethodName: "Call", Handler: method(func(in *wrapperspb.BytesValue) *wrapperspb.BytesValue { return in })},
			{MethodName: "Who", Handler: method(func(*wrapperspb.BytesValue) *wrapperspb.BytesValue {
				return wrapperspb.Bytes([]byte(name))
			})},
		},
		Streams: []grpc.StreamDesc{{
			StreamName: "Stream", ServerStreams: true, ClientStreams: true,
			Handler: func(_ any, s grpc.ServerStream) error {
				for {
					m := new(wrapperspb.BytesValue)
					if err := s.RecvMsg(m); errors.Is(err, io.EOF) {
						return nil
					} else if err != nil {
						return err
					}
					if err := s.SendMsg(m); err != nil {
						return err
					}
				}
			},
		}},
	}, struct{}{})
	return s
}

// newHTTPBackend speaks HTTP/1.1 and HTTP/2 without TLS.
func newHTTPBackend(name string) *http.Server {
	s := &http.Server{
		ReadHeaderTimeout: time.Minute,
		Protocols:         new(http.Protocols),
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == whoPath {
				fmt.Fprint(w, name)
				return
			}
			buf := make([]byte, len(payload))
			if _, err := io.ReadFull(r.Body, buf); err != nil && r.Method != http.MethodGet {
				http.Error(w, err.Error(), http.StatusBadRequest)
				return
			}
			_, _ = w.Write(buf)
		}),
	}
	s.Protocols.SetHTTP1(true)
	s.Protocols.SetUnencryptedHTTP2(true)
	return s
}
