package call

import (
	"time"

	"github.com/weft-mesh/weft/filter"
	"github.com/weft-mesh/weft/internal/message"
)

// Pace is what holds the body of the response back; nil if it goes as it comes.
func (c *Call) Pace() filter.PacedFollower {
	if c.passed == nil {
		return nil
	}
	return c.passed.paced
}

// MessageWait is how long a gRPC message is to be held back.
func MessageWait(p filter.PacedFollower, m any) time.Duration {
	const frame = 5 // bytes before each message
	size, ok := message.Size(m)
	if !ok {
		return 0
	}
	return p.Pace(size + frame)
}
