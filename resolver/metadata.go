package resolver

import (
	"maps"
	"slices"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/weft-mesh/weft/balancer"
)

// values returns the fields of a metadata struct.
func values(s *structpb.Struct) map[string]balancer.Value {
	if len(s.GetFields()) == 0 {
		return nil
	}
	m := make(map[string]balancer.Value, len(s.GetFields()))
	for key, v := range s.GetFields() {
		m[key] = value(v)
	}
	return m
}

// value is a protobuf value as the balancer has it.
func value(v *structpb.Value) balancer.Value {
	switch k := v.GetKind().(type) {
	case *structpb.Value_StringValue:
		return balancer.Text(k.StringValue)
	case *structpb.Value_NumberValue:
		return balancer.Number(k.NumberValue)
	case *structpb.Value_BoolValue:
		if k.BoolValue {
			return balancer.True
		}
		return balancer.False
	case *structpb.Value_ListValue:
		list := make([]string, len(k.ListValue.GetValues()))
		for i, element := range k.ListValue.GetValues() {
			list[i] = string(value(element))
		}
		return balancer.Value("[" + strings.Join(list, ",") + "]")
	case *structpb.Value_StructValue:
		fields := k.StructValue.GetFields()
		list := make([]string, 0, len(fields))
		for _, key := range slices.Sorted(maps.Keys(fields)) {
			list = append(list, string(balancer.Text(key)+":"+value(fields[key])))
		}
		return balancer.Value("{" + strings.Join(list, ",") + "}")
	default:
		return balancer.Null
	}
}

// criteria is what a metadata_match asks of endpoints: the fields for the balancer, in
// addition to those of the level above, of which the same key counts less
// (MetadataMatchCriteriaImpl::mergeMatchCriteria). It is nil if neither asks anything.
func criteria(above map[string]balancer.Value, m *corev3.Metadata) map[string]balancer.Value {
	own := values(m.GetFilterMetadata()[labelsKey])
	if len(own) == 0 {
		return above
	}
	merged := maps.Clone(above)
	if merged == nil {
		return own
	}
	maps.Copy(merged, own)
	return merged
}
