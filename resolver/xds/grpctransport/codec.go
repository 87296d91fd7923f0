package grpctransport

import (
	"fmt"

	"google.golang.org/grpc/mem"
)

// rawCodec hands messages through: []byte to send, *[]byte to receive. The xDS
// client serializes them itself.
type rawCodec struct{}

func (rawCodec) Marshal(v any) (mem.BufferSlice, error) {
	b, ok := v.([]byte)
	if !ok {
		return nil, fmt.Errorf("grpctransport: cannot send a %T", v)
	}
	return mem.BufferSlice{mem.SliceBuffer(b)}, nil
}

func (rawCodec) Unmarshal(data mem.BufferSlice, v any) error {
	b, ok := v.(*[]byte)
	if !ok {
		return fmt.Errorf("grpctransport: cannot receive into a %T", v)
	}
	*b = data.Materialize()
	return nil
}

// Name is that of the content: the messages are protobuf's.
func (rawCodec) Name() string { return "proto" }
