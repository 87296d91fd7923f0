package xds

import (
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	rpcstatus "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"
)

// dialect is one of the two forms of ADS. It has no state: what a stream has to
// remember is in its subscriptions.
type dialect interface {
	protocol() Protocol
	method() string
	// parse reads a response. The items alias b.
	parse(b []byte) (*response, error)
	// request makes the next request of a type for which something is due, or
	// returns nil if there is nothing to say after all. It also returns the entries
	// that the server hears of for the first time on the stream. A node is given
	// for the first request of a stream. Called with mu held.
	request(s *subscription, node *corev3.Node) (proto.Message, []*entry)
	// absentIsRemoved says that a response lists all there is of the type.
	absentIsRemoved(ResourceType) bool
}

var (
	delta dialect = deltaDialect{}
	sotw  dialect = sotwDialect{}
)

func dialectOf(p Protocol) dialect {
	if p == ProtocolSotW {
		return sotw
	}
	return delta
}

// errorDetail is the error_detail of a NACK; nil for an ACK.
func (a ack) errorDetail() *rpcstatus.Status {
	if a.err == "" {
		return nil
	}
	return &rpcstatus.Status{Code: int32(codes.InvalidArgument), Message: a.err}
}
