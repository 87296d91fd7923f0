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

// TestClusterBeginsWithWhatCallsRead has what each call asks a cluster for on its first cache
// line, and each of its counters on one.
func TestClusterBeginsWithWhatCallsRead(t *testing.T) {
	c := reflect.TypeFor[Cluster]()
	breaker, _ := c.FieldByName("breaker")
	limits, _ := c.FieldByName("limits")
	throttle, _ := limits.Type.FieldByName("throttle")
	counts, _ := limits.Type.FieldByName("counts")
	if breaker.Offset >= cacheLine || limits.Offset+throttle.Offset >= cacheLine {
		t.Errorf("the breaker is at byte %d, the throttle at %d", breaker.Offset, limits.Offset+throttle.Offset)
	}
	counter := counts.Type.Elem().Elem()
	most, _ := counter.FieldByName("most")
	if from := (limits.Offset + counts.Offset) % cacheLine; counter.Size() != cacheLine || from+most.Offset >= cacheLine {
		t.Errorf("a counter has %d bytes and begins at byte %d of a line", counter.Size(), from)
	}
}
