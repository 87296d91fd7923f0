package xdsserver

import (
	"google.golang.org/grpc/encoding"
	_ "google.golang.org/grpc/encoding/proto" // the codec that ours wraps
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/emptypb"
)

// Codec returns a codec that sends the server's responses without copying or
// encoding anything, and is the ordinary protobuf codec for every other message.
// [Server.Serve] uses it. For a grpc.Server of one's own, pass it to
// grpc.ForceServerCodecV2; without it everything works the same, with a copy of
// each response per stream.
func Codec() encoding.CodecV2 { return codec{encoding.GetCodecV2("proto")} }

type codec struct{ encoding.CodecV2 }

func (c codec) Marshal(v any) (mem.BufferSlice, error) {
	if m, ok := v.(*outbound); ok {
		return m.data, nil
	}
	return c.CodecV2.Marshal(v)
}

func (c codec) Unmarshal(data mem.BufferSlice, v any) error {
	if m, ok := v.(*inbound); ok {
		m.buffer = data.MaterializeToBuffer(mem.DefaultBufferPool())
		return nil
	}
	return c.CodecV2.Unmarshal(data, v)
}

// outbound is a message whose encoding is at hand. To the ordinary codec it is a
// message that consists of fields which the codec does not know, and which it
// therefore has to pass on as they are.
type outbound struct {
	data  mem.BufferSlice
	shell *emptypb.Empty
}

func (m *outbound) ProtoReflect() protoreflect.Message {
	if m.shell == nil {
		m.shell = new(emptypb.Empty)
		m.shell.ProtoReflect().SetUnknown(m.data.Materialize())
	}
	return m.shell.ProtoReflect()
}

// inbound is a message of which only the encoding is wanted.
type inbound struct {
	buffer mem.Buffer // set by our codec
	shell  emptypb.Empty
}

func (m *inbound) ProtoReflect() protoreflect.Message { return m.shell.ProtoReflect() }

// bytes returns the encoding, valid until free.
func (m *inbound) bytes() []byte {
	if m.buffer != nil {
		return m.buffer.ReadOnlyData()
	}
	return m.shell.ProtoReflect().GetUnknown()
}

func (m *inbound) free() {
	if m.buffer != nil {
		m.buffer.Free()
		m.buffer = nil
	}
}
