package policy

import (
	"strings"

	"go.yaml.in/yaml/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/structpb"

	xdsv3 "github.com/cncf/xds/go/xds/type/v3"
)

// typed reads the configuration of an extension, a mapping with an "@type". A type
// that this program does not know, and that is not one of Envoy's, becomes a
// TypedStruct, for the program that does.
func (d *decoder) typed(n *yaml.Node, p path) *anypb.Any {
	typeURL, typeNode, rest := d.typedNode(n, p, "type.googleapis.com/envoy.extensions.filters.http.fault.v3.HTTPFault")
	if typeNode == nil {
		return nil
	}
	var m proto.Message
	if t, err := protoregistry.GlobalTypes.FindMessageByURL(typeURL); err == nil {
		m = t.New().Interface()
	} else if reserved(typeURL) {
		d.errorf(typeNode, p.field("@type"), "%q: this program has no such type built in", shorten(typeURL))
		return nil
	}
	if m == nil {
		s := &structpb.Struct{}
		if !d.protoJSON(n, rest, p, typeURL, s) {
			return nil
		}
		m = &xdsv3.TypedStruct{TypeUrl: typeURL, Value: s}
	} else if !d.protoJSON(n, rest, p, typeURL, m) {
		return nil
	}
	encoded, err := deterministic.Marshal(m)
	if err != nil {
		d.errorf(n, p, "%v", err)
		return nil
	}
	return &anypb.Any{TypeUrl: "type.googleapis.com/" + string(m.ProtoReflect().Descriptor().FullName()), Value: encoded}
}

// reserved reports whether a type is of those that have messages.
func reserved(typeURL string) bool {
	name := typeURL[strings.LastIndexByte(typeURL, '/')+1:]
	for _, prefix := range []string{"envoy.", "google.", "xds.", "udpa."} {
		if strings.HasPrefix(name, prefix) {
			return true
		}
	}
	return false
}

// typedNode takes the "@type" out of a mapping. Its node is nil if it cannot be read,
// which was said then.
func (d *decoder) typedNode(n *yaml.Node, p path, example string) (typeURL string, typeNode, rest *yaml.Node) {
	without := *n
	without.Content = nil
	for key, value := range d.entries(n, p, `a mapping with "@type"`) {
		if key.Value == "@type" {
			typeNode = value
			continue
		}
		without.Content = append(without.Content, key, value)
	}
	if n.Kind != yaml.MappingNode {
		return "", nil, nil
	}
	if typeNode == nil {
		d.errorf(n, p, `field "@type" is missing, such as %s`, example)
		return "", nil, nil
	}
	typeURL, ok := d.text(typeNode, p.field("@type"))
	if !ok {
		return "", nil, nil
	}
	return typeURL, typeNode, &without
}

// protoJSON reads the message m from a node. It is written out as JSON, one value to a
// line, and read by the protobuf library, whose errors name the line: so every error
// finds back to the node that it is about.
func (d *decoder) protoJSON(n, rest *yaml.Node, p path, typeURL string, m proto.Message) bool {
	errsBefore := len(d.errs)
	w := jsonWriter{decoder: d}
	w.node(rest, p)
	if len(d.errs) > errsBefore {
		return false
	}
	if err := protojson.Unmarshal(w.buf.Bytes(), m); err != nil {
		at, reason := w.explain(err, n)
		d.errorf(at, p, "%s: %s", shortType(typeURL), reason)
		return false
	}
	return true
}
