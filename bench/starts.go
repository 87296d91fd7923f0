package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"regexp"
	"time"
)

// How a program's memory and its connections come to lie is decided when it starts, and
// stays: what a call costs by that differs more from start to start than from round to
// round. So where a small ratio is asked for, there are many starts of few rounds: the
// measurement runs in processes of its own, clients and servers, one after the other, and
// what one of them measured of a path counts once.

// startOptions is what such a process is told.
type startOptions struct {
	Rounds  int
	Paired  bool
	Slot    time.Duration
	Callers callerCounts
	Only    string
}

// measured is what it says of a row: the means over its rounds.
type measured struct {
	Samples, Bare map[int]sample // by callers
}

// measureStarts measures the table in o.starts processes.
func measureStarts(ctx context.Context, table []rows, o options) error {
	for range o.starts {
		tell := startOptions{o.rounds, o.paired, o.slot, o.callers, o.only.String()}
		var got [][]measured
		p, err := startProcess(ctx, "start", tell, &got)
		if err != nil {
			return err
		}
		p.stop()
		if len(got) != len(table) {
			return fmt.Errorf("a start measured %d protocols, not %d", len(got), len(table))
		}
		for i, rs := range table {
			if len(got[i]) != len(rs.rows) {
				return fmt.Errorf("a start measured %d rows of %s, not %d", len(got[i]), rs.protocol, len(rs.rows))
			}
			for k, r := range rs.rows {
				for _, n := range o.callers {
					r.samples[n] = append(r.samples[n], got[i][k].Samples[n])
					if k > 0 { // the bare row's are its samples
						r.bare[n] = append(r.bare[n], got[i][k].Bare[n])
					}
				}
			}
		}
	}
	return nil
}

// runStart is one of the processes.
func runStart(in io.Reader, out io.Writer) error {
	var told startOptions
	if err := json.NewDecoder(in).Decode(&told); err != nil {
		return err
	}
	only, err := regexp.Compile(told.Only)
	if err != nil {
		return err
	}
	// It is killed if its parent is.
	ctx := context.Background()
	s, err := startServers(ctx)
	if err != nil {
		return err
	}
	defer s.stop()
	o := options{rounds: told.Rounds, paired: told.Paired, slot: told.Slot, callers: told.Callers, only: only}
	table := selectRows(o)
	if err := measureTable(ctx, table, s, o); err != nil {
		return err
	}
	answer := make([][]measured, len(table))
	for i, rs := range table {
		for _, r := range rs.rows {
			answer[i] = append(answer[i], measured{means(r.samples), means(r.bare)})
		}
	}
	return json.NewEncoder(out).Encode(answer)
}

func means(of map[int][]sample) map[int]sample {
	list := map[int]sample{}
	for callers, samples := range of {
		var sum sample
		for _, s := range samples {
			sum = sum.plus(s)
		}
		list[callers] = sum.over(len(samples))
	}
	return list
}
