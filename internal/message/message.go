// Package message does with messages of gRPC calls what attempts of a call need, without
// knowing their types.
package message

import (
	"reflect"

	"google.golang.org/protobuf/proto"
)

// Size is about how much memory a message takes, in bytes; false if that cannot be told.
func Size(m any) (int, bool) {
	if p, ok := m.(proto.Message); ok {
		return proto.Size(p), true
	}
	return 0, false
}

// Replicable reports whether New can make another message like m.
func Replicable(m any) bool {
	if _, ok := m.(proto.Message); ok {
		return true
	}
	v := reflect.ValueOf(m)
	return v.Kind() == reflect.Pointer && !v.IsNil()
}

// New returns an empty message of m's type.
func New(m any) any {
	if p, ok := m.(proto.Message); ok {
		return p.ProtoReflect().New().Interface()
	}
	return reflect.New(reflect.TypeOf(m).Elem()).Interface()
}

// Give puts what from holds, which is not used any more, in place of what is in to.
func Give(to, from any) {
	if m, ok := to.(proto.Message); ok {
		proto.Reset(m)
		proto.Merge(m, from.(proto.Message))
		return
	}
	reflect.ValueOf(to).Elem().Set(reflect.ValueOf(from).Elem())
}
