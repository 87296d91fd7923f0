package main

import (
	"runtime"
	"sync"
	"sync/atomic"
	"time"
)

// sample is what happened in a slot, or what one call of it cost on average.
type sample struct {
	Calls   float64
	Allocs  float64
	Bytes   float64 // allocated
	CPU     time.Duration
	Latency time.Duration
}

// measure calls by c for d from so many goroutines, once each at the least, and returns what a
// call cost this process.
func measure(c client, callers int, d time.Duration) (sample, error) {
	var stop atomic.Bool
	timer := time.AfterFunc(time.Hour, func() { stop.Store(true) })
	defer timer.Stop()
	return measureUntil(c, callers, func() { timer.Reset(d) }, func(done int) bool { return done > 0 && stop.Load() })
}

// measureCalls is measure for so many calls of each caller.
func measureCalls(c client, callers, calls int) (sample, error) {
	return measureUntil(c, callers, func() {}, func(done int) bool { return done >= calls })
}

func measureUntil(c client, callers int, begin func(), ended func(done int) bool) (sample, error) {
	var (
		start = make(chan struct{})
		work  sync.WaitGroup
		calls atomic.Int64
		first atomic.Pointer[error]
	)
	for range callers {
		call, stop, err := c.caller()
		if err != nil {
			first.CompareAndSwap(nil, &err)
			break
		}
		defer stop()
		work.Go(func() {
			<-start
			done := 0
			for ; !ended(done) && first.Load() == nil; done++ {
				if err := call(); err != nil {
					first.CompareAndSwap(nil, &err)
				}
			}
			calls.Add(int64(done))
		})
	}
	runtime.GC() // what others left is not this slot's to collect
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	cpu, at := cpuTime(), time.Now()
	begin()
	close(start)
	work.Wait()
	took := time.Since(at)
	cpu = cpuTime() - cpu
	runtime.ReadMemStats(&after)
	if err := first.Load(); err != nil {
		return sample{}, *err
	}
	n := float64(calls.Load())
	return sample{
		Calls:   n,
		Allocs:  float64(after.Mallocs-before.Mallocs) / n,
		Bytes:   float64(after.TotalAlloc-before.TotalAlloc) / n,
		CPU:     time.Duration(float64(cpu) / n),
		Latency: time.Duration(float64(took) * float64(callers) / n),
	}, nil
}
