package filter

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	udpav1 "github.com/cncf/xds/go/udpa/type/v1"
	xdsv3 "github.com/cncf/xds/go/xds/type/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/structpb"
)

// Config is a configuration as policy has it.
type Config struct {
	// TypeURL is its type; for a TypedStruct the type that it names.
	TypeURL string
	// Override says that it stands in typed_per_filter_config, not in the listener.
	Override bool

	message  *anypb.Any
	fields   *structpb.Struct // of a TypedStruct; nil for a message
	registry *Registry
	at       Place
}

// Decode reads the configuration into v, a protobuf message of its type or, for a
// TypedStruct, a pointer to anything that encoding/json decodes to. Of a TypedStruct,
// fields that v does not have are errors.
func (c *Config) Decode(v any) error {
	m, isMessage := v.(proto.Message)
	switch {
	case isMessage && c.fields == nil:
		return c.message.UnmarshalTo(m)
	case c.fields == nil && len(c.message.GetValue()) > 0:
		return fmt.Errorf("%s must come as a TypedStruct", c.TypeURL)
	}
	text, err := protojson.Marshal(c.fields)
	if err != nil {
		return err
	}
	if isMessage {
		return protojson.Unmarshal(text, m)
	}
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	return nil
}

// Warn says that a field of the configuration, named by its path in it, is set and not
// acted on.
func (c *Config) Warn(field string) {
	if c.at.Warn != nil {
		c.at.Warn(field)
	}
}

// Nested reads the configuration of a filter or matcher that stands in this one.
func (c *Config) Nested(a *anypb.Any) (*Parsed, error) {
	return c.registry.Parse(a, Place{Warn: c.at.Warn, depth: c.at.depth + 1})
}

// unwrap returns what a configuration says of itself; fields is nil for a message.
func unwrap(a *anypb.Any) (typeURL string, fields *structpb.Struct, err error) {
	var s interface {
		proto.Message
		GetTypeUrl() string
		GetValue() *structpb.Struct
	}
	switch {
	case a.MessageIs((*xdsv3.TypedStruct)(nil)):
		s = &xdsv3.TypedStruct{}
	case a.MessageIs((*udpav1.TypedStruct)(nil)):
		s = &udpav1.TypedStruct{}
	default:
		return a.GetTypeUrl(), nil, nil
	}
	if err := a.UnmarshalTo(s); err != nil {
		return a.GetTypeUrl(), nil, err
	}
	if fields = s.GetValue(); fields == nil {
		fields = &structpb.Struct{}
	}
	return s.GetTypeUrl(), fields, nil
}

// TypeURL returns the type URL of a configuration, which may be wrapped in a
// TypedStruct (gRFC A39).
func TypeURL(a *anypb.Any) string {
	url, _, _ := unwrap(a)
	return url
}

// TypeName is what names a type in a type URL: what stands behind the last slash.
func TypeName(url string) string { return url[strings.LastIndexByte(url, '/')+1:] }
