package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"
)

// What changes of policy do to the calls that are made meanwhile: the control plane, in a
// process of its own, replaces one of 10,000 endpoints a hundred times a second. Slots with
// changes and without are compared with slots in which as much CPU is taken for nothing: all
// of it by another process, which has nothing to do with the calls, or what the control plane
// took by that and what the changes took by a goroutine here. What that does to calls, the
// machine does that has no core to spare, and the scheduler; the rest is the changes' own.

// changesPause is from the end of a call to the next, so that calls do not themselves take
// all CPU.
const changesPause = 500 * time.Microsecond

// mode is what goes on beside the calls.
type mode int

const (
	still mode = iota
	changes
	burning
	spinning
	modes
)

func (m mode) String() string {
	return [...]string{"nothing changes", "100 changes a second", "as much CPU in another process", "as much CPU here and there"}[m]
}

// beside is what was measured in a mode.
type beside struct {
	latencies []time.Duration
	cpu       time.Duration // this process's
	took      time.Duration
	times     int           // of changes
	theirs    time.Duration // CPU of the process that made them
}

// printChanges measures and prints the table.
func printChanges(ctx context.Context, out io.Writer, s *servers, o options) error {
	fmt.Fprintf(out, "\n| calls while endpoints change, of 10,000 | p50 × still | p99 × still | slowest × still | CPU a change, here / control plane |\n| --- | --- | --- | --- | --- |\n")
	var notes []string
	for _, p := range []struct {
		name string
		path path
	}{
		{"gRPC", grpcPath("", newUnary, dialTarget("changing-grpc"))},
		{"HTTP/1.1", weftHTTP("", "changing-http")},
	} {
		if !o.only.MatchString("changes: " + p.name) {
			continue
		}
		note, err := measureChanges(ctx, out, s, o, p.name, p.path)
		if err != nil {
			return fmt.Errorf("changes, %s: %w", p.name, err)
		}
		notes = append(notes, note)
	}
	fmt.Fprintf(out, "\n%s\n", strings.Join(notes, "\n"))
	return nil
}

// measureChanges prints the rows of a protocol, and returns what is to stand below the table.
func measureChanges(ctx context.Context, out io.Writer, s *servers, o options, name string, p path) (note string, err error) {
	var control addresses
	changer, err := startProcess(ctx, "changes", s.addresses, &control)
	if err != nil {
		return "", err
	}
	defer changer.stop()
	burner, err := startProcess(ctx, "burner", nil, new(done))
	if err != nil {
		return "", err
	}
	defer burner.stop()
	m, err := newMesh(&servers{addresses: control})
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, closeMesh(m)) }()
	c, err := p.open(s, m)
	if err != nil {
		return "", err
	}
	defer c.close()
	call, stop, err := c.caller()
	if err != nil {
		return "", err
	}
	defer stop()

	var measured [modes]beside
	slot := func(m mode) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		here, there := measured[changes].extra(&measured[still]), measured[changes].perChange()
		switch b := &measured[m]; m {
		case changes:
			return b.slot(call, changer, 0, o.changes)
		case burning:
			return b.slot(call, burner, here+there, o.changes)
		case spinning:
			defer spin(here)()
			return b.slot(call, burner, there, o.changes)
		default:
			return b.slot(call, nil, 0, o.changes)
		}
	}
	// First, to connect and to know what to burn.
	for _, m := range []mode{still, still, changes, changes} {
		if err := slot(m); err != nil {
			return "", err
		}
	}
	for m := range measured {
		measured[m].latencies = nil
	}
	for range o.rounds {
		for _, m := range rand.Perm(int(modes)) {
			if err := slot(mode(m)); err != nil {
				return "", err
			}
		}
	}
	bare := &measured[still]
	for m := range modes {
		b := &measured[m]
		cpu := "–"
		if m == changes {
			cpu = fmt.Sprintf("%.1f / %.1f ms", b.extra(bare).Seconds()*1e3, b.perChange().Seconds()*1e3)
		}
		ratio := func(per int) float64 { return float64(b.quantile(per)) / float64(bare.quantile(per)) }
		fmt.Fprintf(out, "| %s, %s | %.2f | %.2f | %.2f | %s |\n", name, m, ratio(500), ratio(990), ratio(1000), cpu)
	}
	return fmt.Sprintf("%s with nothing changing: half of the calls within %d µs, 99 of 100 within %d µs, of %d. The other process took %.1f ms a time.",
		name, bare.quantile(500).Microseconds(), bare.quantile(990).Microseconds(), len(bare.latencies), (measured[changes].extra(bare)+measured[changes].perChange()).Seconds()*1e3), nil
}

// slot calls for d, while by works unless it is nil.
func (b *beside) slot(call func() error, by *process, burn, d time.Duration) error {
	var report done
	if by != nil {
		if err := by.ask(work{Begin: true, Burn: burn}, &report); err != nil {
			return err
		}
	}
	cpu := cpuTime()
	began := time.Now()
	for at := began; at.Sub(began) < d; at = time.Now() {
		if err := call(); err != nil {
			return err
		}
		b.latencies = append(b.latencies, time.Since(at))
		time.Sleep(changesPause)
	}
	b.took += time.Since(began)
	b.cpu += cpuTime() - cpu
	if by != nil {
		if err := by.ask(work{}, &report); err != nil {
			return err
		}
		b.times += report.Times
		b.theirs += report.CPU
	}
	return nil
}

// extra is what a change took of this process's CPU: what calls took too is what they
// took, in their time, where nothing changed.
func (b *beside) extra(still *beside) time.Duration {
	if b.times == 0 {
		return 0
	}
	calls := time.Duration(float64(still.cpu) * float64(b.took) / float64(still.took))
	return max(0, b.cpu-calls) / time.Duration(b.times)
}

// perChange is what a change took of the control plane's CPU.
func (b *beside) perChange() time.Duration {
	if b.times == 0 {
		return 0
	}
	return b.theirs / time.Duration(b.times)
}

// spin has a goroutine take d of CPU as often as there are changes, until stop is called.
func spin(d time.Duration) (stop func()) {
	ended := make(chan struct{})
	var work sync.WaitGroup
	work.Go(func() {
		tick := time.NewTicker(workInterval)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				for at := time.Now(); time.Since(at) < d; {
				}
			case <-ended:
				return
			}
		}
	})
	return func() {
		close(ended)
		work.Wait()
	}
}

// quantile is the latency that so many of a thousand calls did not exceed.
func (b *beside) quantile(per int) time.Duration {
	if len(b.latencies) == 0 {
		return 0
	}
	slices.Sort(b.latencies)
	return b.latencies[min(len(b.latencies)-1, len(b.latencies)*per/1000)]
}
