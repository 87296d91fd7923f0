package main

import (
	"context"
	"slices"
	"sync"
	"time"
)

const (
	callers        = 8
	callsPerCaller = 100
)

// result is what a load has come to.
type result struct {
	calls, failed int
	took          []time.Duration // of each call, the shortest first
}

// load makes calls from several goroutines, one after another in each.
func load(ctx context.Context, call func(context.Context) error) result {
	var (
		wg sync.WaitGroup
		mu sync.Mutex
		r  result
	)
	for range callers {
		wg.Go(func() {
			for range callsPerCaller {
				began := time.Now()
				err := call(ctx)
				took := time.Since(began)
				mu.Lock()
				r.calls++
				r.took = append(r.took, took)
				if err != nil {
					r.failed++
				}
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	slices.Sort(r.took)
	return r
}

// quantile returns how long so many percent of the calls took at most.
func (r result) quantile(percent int) time.Duration {
	return r.took[(len(r.took)-1)*percent/100].Round(100 * time.Microsecond)
}
