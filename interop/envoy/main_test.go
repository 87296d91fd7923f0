package envoy

import (
	"testing"

	"go.uber.org/goleak"
)

// A server of net/http takes half a second to end a connection whose request it did not
// read, which is longer than goleak waits.
func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("net/http.(*conn).closeWriteAndWait"))
}
