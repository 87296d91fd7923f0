package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"
)

// The rules of the rollout.
var (
	// steps are the parts of the calls that v2 gets, in percent.
	steps = []int{1, 5, 25, 50, 100}
)

const (
	// enough is how many calls v2 must have answered before a step is judged.
	enough = 40
	// tolerated is how many percent of v2's calls may fail beyond what v1 fails.
	tolerated = 5.0
	// patience bounds a step.
	patience = 2 * time.Minute
)

// rollout brings out v2.
type rollout struct {
	file  *policyFile
	calls *calls
	out   io.Writer
}

// run goes from step to step, and back to v1 when v2 fails.
func (r *rollout) run(ctx context.Context) (promoted bool, err error) {
	for _, percent := range steps {
		v1, v2, err := r.step(ctx, percent)
		if err != nil {
			return false, err
		}
		fmt.Fprintf(r.out, "%3d %%: v2 answered %d of %d calls and failed %.1f %% of them; v1 %.1f %%\n",
			percent, v2.calls, v1.calls+v2.calls, v2.rate(), v1.rate())
		if v2.rate() > v1.rate()+tolerated {
			fmt.Fprintln(r.out, "v2 fails too much: everything goes back to v1.")
			return false, r.back(ctx)
		}
	}
	fmt.Fprintln(r.out, "v2 has all the calls.")
	return true, nil
}

// step gives v2 its part of the calls and returns what became of them.
func (r *rollout) step(ctx context.Context, percent int) (v1, v2 counts, err error) {
	if err := r.file.share(percent); err != nil {
		return v1, v2, err
	}
	r.calls.reset()
	err = until(ctx, func() bool {
		v1, v2 = r.calls.seen()
		return v2.calls >= enough
	})
	if err != nil {
		return v1, v2, fmt.Errorf("v2 gets no calls at %d %%: %w", percent, err)
	}
	return v1, v2, nil
}

// back gives everything to v1, and waits until that is so.
func (r *rollout) back(ctx context.Context) error {
	if err := r.file.share(0); err != nil {
		return err
	}
	r.calls.reset()
	err := until(ctx, func() bool {
		v1, v2 := r.calls.seen()
		if v2.calls > 0 {
			r.calls.reset()
			return false
		}
		return v1.calls >= 10*enough
	})
	if err != nil {
		return fmt.Errorf("v2 still gets calls: %w", err)
	}
	fmt.Fprintln(r.out, "v2 gets no call any more.")
	return nil
}

// until waits for a condition on calls that flow.
func until(ctx context.Context, holds func() bool) error {
	ctx, cancel := context.WithTimeoutCause(ctx, patience, errors.New("waited in vain"))
	defer cancel()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for !holds() {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-tick.C:
		}
	}
	return nil
}
