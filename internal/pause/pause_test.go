package pause_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weft-mesh/weft/internal/pause"
)

func TestFor(t *testing.T) {
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	for _, test := range []struct {
		name  string
		ctx   context.Context
		limit time.Duration // of the context
		d     time.Duration
		took  time.Duration
		err   error
	}{
		{"over", t.Context(), time.Minute, time.Second, time.Second, nil},
		{"none", t.Context(), time.Minute, 0, 0, nil},
		{"backwards", t.Context(), time.Minute, -time.Second, 0, nil},
		{"ended meanwhile", t.Context(), time.Second, time.Minute, time.Second, context.DeadlineExceeded},
		{"ended before", ended, time.Minute, 0, 0, context.Canceled},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithTimeout(test.ctx, test.limit)
				defer cancel()
				began := time.Now()
				err := pause.For(ctx, test.d)
				if took := time.Since(began); took != test.took || !errors.Is(err, test.err) {
					t.Errorf("it took %v and ended with %v, want %v and %v", took, err, test.took, test.err)
				}
			})
		})
	}
}
