package call

import (
	"context"
	"errors"
	"fmt"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/weft-mesh/weft/resolver"
)

// Target is a name that calls use, and the table behind it.
type Target struct {
	*resolver.Target
	// Gate is the mesh's.
	Gate *Gate
	// Name is what the caller named, without scheme: "orders:8080".
	Name string
	// Source says how the source of policy fares, for calls that wait for it in vain.
	Source func() string
	// Buffers are the mesh's.
	Buffers *Buffers
}

// await waits for the target's first table.
func (t *Target) await(ctx context.Context) (*resolver.Table, error) {
	began := time.Now()
	table, err := t.Target.Await(ctx)
	if err == nil {
		return table, nil
	}
	waited := time.Since(began).Round(time.Millisecond)
	err = fmt.Errorf("waited %v for its policy: %w", waited, err)
	if s := t.Source(); s != "" {
		err = fmt.Errorf("%w; %s", err, s)
	}
	code := codes.Unavailable
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		code = codes.DeadlineExceeded
	case errors.Is(err, context.Canceled):
		code = codes.Canceled
	}
	return nil, t.refuse(ErrUnavailable, code, err)
}

// Ready waits for the target's first table. The error is why every call of the
// target would fail.
func (t *Target) Ready(ctx context.Context) error {
	table, err := t.await(ctx)
	if err != nil {
		return err
	}
	if err := table.Err(); err != nil {
		return t.refuse(ErrNoRoute, codes.Unavailable, err)
	}
	return nil
}

func (t *Target) refuse(kind error, code codes.Code, err error) error {
	return &Error{Kind: kind, Code: code, Target: t.Name, Err: err}
}
