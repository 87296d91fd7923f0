package call

import (
	"sync/atomic"
)

// maxBuffers is how many bytes of requests a mesh keeps to send them again, over all
// calls in flight: grpc-go's limit for a channel is 16 MiB, and a mesh stands for several.
const maxBuffers = 64 << 20

// Buffers counts the bytes of requests that the calls of a mesh keep to send them again.
// The zero value is empty.
type Buffers struct{ used atomic.Int64 }

// Keep counts n more bytes of the request as kept; false means that the call or the mesh
// keeps too much with them. Nothing is then counted, and the call is committed.
func (c *Call) Keep(n int) bool {
	t, b := c.tries, c.Target.Buffers
	if t.kept.Load()+int64(n) <= t.limit {
		if b.used.Add(int64(n)) <= maxBuffers {
			t.kept.Add(int64(n))
			return true
		}
		b.used.Add(int64(-n))
	}
	c.Commit()
	return false
}

// Forget says that nothing of the request is kept any more.
func (c *Call) Forget() { c.Target.Buffers.used.Add(-c.tries.kept.Swap(0)) }

// Used is how many bytes are kept.
func (b *Buffers) Used() int64 { return b.used.Load() }
