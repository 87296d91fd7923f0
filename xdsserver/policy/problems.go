package policy

import (
	"errors"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protopath"
	"google.golang.org/protobuf/reflect/protorange"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// problems checks a message against the rules that its proto file states for its
// fields (protoc-gen-validate), and so every message packed within it: the
// generated check stops at an Any.
func problems(m proto.Message) []string {
	list := ownProblems(m)
	err := protorange.Range(m.ProtoReflect(), func(vs protopath.Values) error {
		last := vs.Index(-1)
		if last.Step.Kind() != protopath.AnyExpandStep {
			return nil
		}
		if packed, ok := last.Value.Interface().(protoreflect.Message); ok {
			list = append(list, ownProblems(packed.Interface())...)
		}
		return nil
	})
	if err != nil {
		list = append(list, err.Error())
	}
	return list
}

func ownProblems(m proto.Message) []string {
	checked, ok := m.(interface{ ValidateAll() error })
	if !ok {
		return nil
	}
	err := checked.ValidateAll()
	if err == nil {
		return nil
	}
	var several interface{ AllErrors() []error }
	if !errors.As(err, &several) {
		return []string{err.Error()}
	}
	var list []string
	for _, err := range several.AllErrors() {
		list = append(list, err.Error())
	}
	return list
}
