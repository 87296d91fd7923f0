package call

import (
	"context"
	"errors"

	"github.com/weft-mesh/weft/balancer"
)

// Unanswered is the outcome of an attempt that ended with err before an answer. What the
// caller's ctx ended is the caller's doing, whatever cause ctx names.
func Unanswered(ctx context.Context, err error) balancer.Outcome {
	if ended := ctx.Err(); ended != nil {
		err = ended
	}
	return balancer.Outcome{Err: err}
}

// GaveUp reports whether err is that of a context that ended: a caller that does not
// read on learned nothing of its endpoint.
func GaveUp(err error) bool {
	return errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)
}
