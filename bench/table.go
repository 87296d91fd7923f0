package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"runtime/pprof"
	"slices"
	"strings"
	"time"
)

// row is a path and what was measured of it.
type row struct {
	path
	client  client
	samples map[int][]sample // by callers, one for each round, or for each start
	bare    map[int][]sample // of the bare path in the same rounds, or starts
}

// rows are those of one protocol; the first is the bare one.
type rows struct {
	protocol string
	rows     []*row
}

// printCalls measures and prints what a call costs along each path.
func printCalls(ctx context.Context, out io.Writer, s *servers, o options) error {
	table := selectRows(o)
	if err := measureTable(ctx, table, s, o); err != nil {
		return err
	}
	printTable(out, table, o)
	return nil
}

func printTable(out io.Writer, table []rows, o options) {
	for i := range table {
		table[i].print(out, o)
	}
}

// selectRows returns the rows to measure.
func selectRows(o options) []rows {
	var table []rows
	for _, p := range protocols {
		rs := rows{protocol: p.name}
		for i, path := range p.paths {
			if i == 0 || o.only.MatchString(p.name+": "+path.name) {
				r := &row{path: path, samples: map[int][]sample{}}
				rs.rows = append(rs.rows, r)
				if r.bare = rs.rows[0].samples; (o.paired || o.starts > 0) && i > 0 {
					r.bare = map[int][]sample{} // of slots of their own
				}
			}
		}
		if len(rs.rows) > 1 { // else there is nothing to compare with it
			table = append(table, rs)
		}
	}
	return table
}

// measureTable opens the clients and measures.
func measureTable(ctx context.Context, table []rows, s *servers, o options) (err error) {
	m, err := newMesh(s)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, closeMesh(m)) }()
	for _, rs := range table {
		for _, r := range rs.rows {
			if r.client, err = r.open(s, m); err != nil {
				return fmt.Errorf("%s: %s: %w", rs.protocol, r.name, err)
			}
			defer r.client.close()
		}
	}
	if err := warmUp(ctx, table, o); err != nil {
		return err
	}
	for range o.rounds {
		if o.paired {
			err = playPairs(ctx, table, o)
		} else {
			err = playRound(ctx, table, o, o.slot, true)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// warmUp connects what will be used and fills the pools.
func warmUp(ctx context.Context, table []rows, o options) error {
	return playRound(ctx, table, o, max(o.slot/5, 10*time.Millisecond), false)
}

// playRound gives every path a slot for each number of callers. The order is another
// one each time, so that no path always runs after the same one and has to clean up
// after it.
func playRound(ctx context.Context, table []rows, o options, slot time.Duration, keep bool) error {
	for _, callers := range o.callers {
		for _, rs := range table {
			for _, i := range rand.Perm(len(rs.rows)) {
				r := rs.rows[i]
				s, err := rs.slot(ctx, r, callers, slot)
				if err != nil {
					return err
				}
				if keep {
					r.samples[callers] = append(r.samples[callers], s)
				}
			}
		}
	}
	return nil
}

// slot gives a path a slot.
func (rs rows) slot(ctx context.Context, r *row, callers int, d time.Duration) (s sample, err error) {
	if err := ctx.Err(); err != nil {
		return s, err
	}
	// What goes on in the slot, in goroutines begun there too, is told apart in
	// a profile: go tool pprof -tagfocus 'path=Weft, 100 routes'.
	labels := pprof.Labels("protocol", rs.protocol, "path", r.name)
	pprof.Do(ctx, labels, func(context.Context) { s, err = measure(r.client, callers, d) })
	if err != nil {
		return s, fmt.Errorf("%s: %s: %w", rs.protocol, r.name, err)
	}
	return s, nil
}

// print prints the rows as a Markdown table.
func (rs rows) print(out io.Writer, o options) {
	few := slices.Min(o.callers)
	bare := rs.rows[0]
	header := []string{rs.protocol, "allocs/call", "B/call", "latency × bare, " + callersText(few)}
	for _, n := range o.callers {
		header = append(header, "CPU × bare, "+callersText(n))
	}
	fmt.Fprintf(out, "\n| %s |\n|%s\n", strings.Join(header, " | "), strings.Repeat(" --- |", len(header)))
	for _, r := range rs.rows {
		cells := []string{
			r.name,
			fmt.Sprintf("%.0f", r.median(few, func(s sample) float64 { return s.Allocs })),
			fmt.Sprintf("%.0f", r.median(few, func(s sample) float64 { return s.Bytes })),
			r.ratio(o, few, func(s sample) float64 { return float64(s.Latency) }),
		}
		for _, n := range o.callers {
			cells = append(cells, r.ratio(o, n, func(s sample) float64 { return float64(s.CPU) }))
		}
		fmt.Fprintf(out, "| %s |\n", strings.Join(cells, " | "))
	}
	var costs []string
	for _, n := range o.callers {
		costs = append(costs, fmt.Sprintf("%.1f µs with %s", bare.median(n, func(s sample) float64 {
			return s.CPU.Seconds() * 1e6
		}), callersText(n)))
	}
	fmt.Fprintf(out, "\nThe bare call takes %.1f µs with %s; its client's CPU is %s.\n",
		bare.median(few, func(s sample) float64 { return s.Latency.Seconds() * 1e6 }), callersText(few), strings.Join(costs, ", "))
}

func callersText(n int) string {
	if n == 1 {
		return "1 caller"
	}
	return fmt.Sprint(n, " callers")
}

func (r *row) median(callers int, of func(sample) float64) float64 {
	var list []float64
	for _, s := range r.samples[callers] {
		list = append(list, of(s))
	}
	return median(list)
}

// ratio is the median over the rounds, or starts, of the ratio to the bare path's sample of it.
func (r *row) ratio(o options, callers int, of func(sample) float64) string {
	var list []float64
	for i, s := range r.samples[callers] {
		list = append(list, of(s)/of(r.bare[callers][i]))
	}
	text := fmt.Sprintf("%.2f", median(list))
	if o.paired || o.starts > 0 {
		low, high := interval(list)
		text += fmt.Sprintf(" (%.2f–%.2f)", low, high)
	}
	return text
}

func median(list []float64) float64 {
	slices.Sort(list)
	n := len(list)
	return (list[(n-1)/2] + list[n/2]) / 2
}
