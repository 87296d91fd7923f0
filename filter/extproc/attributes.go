package extproc

import (
	"strings"

	"google.golang.org/protobuf/types/known/structpb"

	"github.com/weft-mesh/weft/filter"
	"github.com/weft-mesh/weft/filter/internal/attribute"
)

// attributesKey is what the attributes stand under (gRFC A93).
const attributesKey = "envoy.filters.http.ext_proc"

// attributes are those of the names that are known and that the request has.
func attributes(names []string, r *filter.Request) map[string]*structpb.Struct {
	if len(names) == 0 {
		return nil
	}
	all := attribute.Request(r, false)
	fields := map[string]*structpb.Value{}
	for _, name := range names {
		short, ok := strings.CutPrefix(name, "request.")
		if !ok {
			continue
		}
		if short == "headers" {
			headers := &structpb.Struct{Fields: map[string]*structpb.Value{}}
			for k, v := range attribute.Headers(r) {
				headers.Fields[k] = text(v)
			}
			fields[name] = structpb.NewStructValue(headers)
		} else if v, ok := all[short].(string); ok {
			fields[name] = text(v)
		}
	}
	return map[string]*structpb.Struct{attributesKey: {Fields: fields}}
}

// text is a string that protobuf takes: what is not UTF-8 would fail the stream.
func text(s string) *structpb.Value {
	return structpb.NewStringValue(strings.ToValidUTF8(s, "\uFFFD"))
}
