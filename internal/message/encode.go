package message

import (
	"fmt"

	"google.golang.org/protobuf/proto"
)

// Encode returns a message as it goes on the wire, uncompressed. The error is for messages
// that are not protobuf.
func Encode(m any) ([]byte, error) {
	p, ok := m.(proto.Message)
	if !ok {
		return nil, fmt.Errorf("a message of type %T is not protobuf, which filters of bodies need", m)
	}
	return proto.Marshal(p)
}

// Decode reads into a message what Encode returned for one of its type.
func Decode(b []byte, m any) error {
	p, ok := m.(proto.Message)
	if !ok {
		return fmt.Errorf("a message of type %T is not protobuf, which filters of bodies need", m)
	}
	return proto.Unmarshal(b, p)
}
