package mesh

import (
	"context"
	"reflect"
	"testing"

	"google.golang.org/grpc/metadata"
)

// TestRPCBeginsWithWhatCallsUse has what most RPCs read and write on the first four cache
// lines, and what their ends need on two of these: an RPC often ends on another core than it
// began on, which has to fetch each. An object of this size begins with a line.
func TestRPCBeginsWithWhatCallsUse(t *testing.T) {
	const line = 64
	r := reflect.TypeFor[rpc]()
	if r.Size()%(2*line) != 0 {
		t.Errorf("an RPC has %d bytes", r.Size())
	}
	for _, f := range []struct {
		path []string
		most uintptr // where it ends
	}{
		{[]string{"lb"}, line},
		{[]string{"Context"}, line},
		{[]string{"sampler"}, line},
		{[]string{"call", "Attempt"}, 2 * line},
		{[]string{"call", "progress"}, 2 * line},
		{[]string{"call", "routed"}, 3 * line},
		{[]string{"call", "Target"}, 3 * line},
		{[]string{"call", "Request", "Path"}, 3 * line},
		{[]string{"call", "Request", "last"}, 4 * line},
	} {
		at, of := uintptr(0), r
		for _, name := range f.path {
			field, ok := of.FieldByName(name)
			if !ok {
				t.Fatalf("there is no %v", f.path)
			}
			if at, of = at+field.Offset, field.Type; name == "Path" && at%line+of.Size() > line {
				t.Errorf("%v crosses a line", f.path)
			}
		}
		if end := at + of.Size(); end > f.most {
			t.Errorf("%v ends at byte %d, want %d at most", f.path, end, f.most)
		}
	}
}

// TestOutgoingMetadataIsFound has the key of metadata be the one that package metadata uses.
func TestOutgoingMetadataIsFound(t *testing.T) {
	ctx := t.Context()
	if ctx.Value(outgoingMetadata) != nil {
		t.Error("there is metadata where none was set")
	}
	for _, with := range []context.Context{
		metadata.NewOutgoingContext(ctx, metadata.MD{}),
		metadata.AppendToOutgoingContext(ctx, "a", "b"),
	} {
		if outgoingMetadata == nil || with.Value(outgoingMetadata) == nil {
			t.Error("metadata is not found")
		}
	}
}
