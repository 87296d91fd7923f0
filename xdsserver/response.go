package xdsserver

import (
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/encoding/protowire"
)

// maxResponse is the size in bytes at which a response is cut into several. gRPC
// clients refuse messages over 4 MiB unless told otherwise.
const maxResponse = 2 << 20

// Field numbers that envoy.service.discovery.v3.DiscoveryResponse and
// DeltaDiscoveryResponse share, and removed_resources of the latter.
const (
	responseVersion protowire.Number = 1
	responseTypeURL protowire.Number = 4
	responseNonce   protowire.Number = 5
	responseRemoved protowire.Number = 6
)

// cut takes the next piece of an answer that fits a message of limit bytes, and
// at least one resource or name. whole tells that the answer must not be cut.
func (a *answer) cut(limit int, whole, delta bool) (piece answer, rest bool) {
	piece = *a
	if whole {
		return piece, false
	}
	size, n := 0, 0
	for n < len(a.resources) && (size == 0 || size < limit) {
		size += a.resources[n].Size(delta)
		if size > limit && n > 0 {
			break
		}
		n++
	}
	k := 0
	for k < len(a.removed) && (size == 0 || size < limit) {
		size += protowire.SizeTag(responseRemoved) + protowire.SizeBytes(len(a.removed[k]))
		k++
	}
	piece.resources, a.resources = a.resources[:n], a.resources[n:]
	piece.removed, a.removed = a.removed[:k], a.removed[k:]
	return piece, len(a.resources)+len(a.removed) > 0
}

// encode makes the message: what belongs to the stream in a buffer of its own,
// then the resources' shared buffers.
func (a *answer) encode(nonce string, delta bool) *outbound {
	size := 3*(1+10) + len(a.version) + len(a.sub.typeURL) + len(nonce)
	for _, name := range a.removed {
		size += protowire.SizeTag(responseRemoved) + protowire.SizeBytes(len(name))
	}
	head := make([]byte, 0, size)
	head = appendText(head, responseVersion, a.version)
	head = appendText(head, responseTypeURL, a.sub.typeURL)
	head = appendText(head, responseNonce, nonce)
	for _, name := range a.removed {
		head = appendText(head, responseRemoved, name)
	}
	data := make(mem.BufferSlice, 1, 1+len(a.resources))
	data[0] = mem.SliceBuffer(head)
	for _, r := range a.resources {
		if delta {
			data = append(data, r.Delta())
		} else {
			data = append(data, r.SotW())
		}
	}
	return &outbound{data: data}
}

func appendText(b []byte, num protowire.Number, s string) []byte {
	b = protowire.AppendTag(b, num, protowire.BytesType)
	return protowire.AppendString(b, s)
}
