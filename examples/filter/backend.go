package main

import (
	"context"
	"crypto/hmac"
	"fmt"
	"net/http"
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/weft-mesh/weft/examples/internal/shop"
)

// verdict is what a backend finds of a request's signature.
func verdict(keys map[string][]byte, method, path, date, signed string) string {
	key, got, ok := strings.Cut(signed, " ")
	switch {
	case !ok:
		return "not signed"
	case !hmac.Equal([]byte(got), []byte(signature(keys[key], method, path, date))):
		return "badly signed"
	default:
		return "signed by " + key
	}
}

// httpBackend answers with its verdict.
func httpBackend(keys map[string][]byte) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, verdict(keys, r.Method, r.URL.Path, r.Header.Get("X-Date"), r.Header.Get("X-Signature")))
	})
}

// grpcBackend answers with its verdict.
func grpcBackend(keys map[string][]byte) *grpc.Server {
	s := grpc.NewServer(grpc.UnaryInterceptor(func(ctx context.Context, _ any, info *grpc.UnaryServerInfo, _ grpc.UnaryHandler) (any, error) {
		md, _ := metadata.FromIncomingContext(ctx)
		first := func(name string) string { return strings.Join(md.Get(name), "") }
		return wrapperspb.String(verdict(keys, http.MethodPost, info.FullMethod, first("x-date"), first("x-signature"))), nil
	}))
	shop.Register(s, "orders")
	return s
}
