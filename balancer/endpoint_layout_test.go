package balancer

import (
	"reflect"
	"testing"
)

// TestEndpointIsTwoCacheLines has what calls write apart from what they read, and all of it
// on one line. An object of this size begins with a line.
func TestEndpointIsTwoCacheLines(t *testing.T) {
	e := reflect.TypeFor[Endpoint]()
	if e.Size() != 2*cacheLine {
		t.Errorf("an endpoint has %d bytes", e.Size())
	}
	if active, _ := e.FieldByName("active"); active.Offset != cacheLine {
		t.Errorf("what calls write begins at byte %d", active.Offset)
	}
}
