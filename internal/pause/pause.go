// Package pause waits.
package pause

import (
	"context"
	"time"
)

// For waits for d, unless ctx ends before or has ended: then the error is that of ctx.
func For(ctx context.Context, d time.Duration) error {
	if err := ctx.Err(); err != nil || d <= 0 {
		return err
	}
	if end, ok := ctx.Deadline(); ok && time.Until(end) < d {
		<-ctx.Done() // on a busy machine both may have come when one is looked at
		return ctx.Err()
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
