// Command bench measures what a call costs through Weft, and through what one would
// use in its place, and prints the table that the README shows:
//
//	go run .                  # everything, in under five minutes
//	go run . -only gRPC       # the rows whose protocol or name matches
//	go run . -starts 40 -paired -rounds 6 -slot 20ms -only 'Weft, 100|control'
//	go run . -cpuprofile f -only 'Weft, 100' -callers 16
//
// The backends and the control plane run in a process of their own (servers.go), so
// that what is counted here is the client's. All clients are open at once, and every
// round gives each of them one slot (slot.go) after the other: what else the machine
// does falls on all alike. A figure is the median over the rounds of a ratio to
// the bare client's slot in the same round (table.go). Each protocol has a control
// row that runs the bare client a second time: what it is off by, the machine is. With
// -paired each path is compared with the bare one by itself (paired.go), and ratios come
// with what they are sure to: 1.03 (1.01–1.05). That tells small differences apart, and
// one from none, in one run of the programs; another run may have another ratio, by a few
// hundredths. With -starts there are many runs, and figures are medians over them
// (starts.go), which say what to expect of a call in any.
//
// With -tags xds, grpc-go's own xDS is among the peers (path_xds.go says why only then).
//
// The peers live in this module, which has a go.mod of its own, so that nobody who
// imports Weft has them in their module graph.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"os"
	"os/signal"
	"regexp"
	"runtime/pprof"
	"strconv"
	"strings"
	"time"
)

func main() {
	log.SetFlags(0)
	if ok, err := playRole(); err != nil {
		log.Fatal("bench ", err)
	} else if ok {
		return
	}
	o := options{callers: callerCounts{1, 16, 64}}
	flag.IntVar(&o.rounds, "rounds", 9, "how many slots each path gets for each number of callers")
	flag.BoolVar(&o.paired, "paired", false, "compare each path with the bare one in rounds of their own, and print 95 % confidence intervals; the table of calls alone")
	flag.IntVar(&o.starts, "starts", 0, "measure in so many processes, one after the other, each of so many rounds, and print medians over them with 95 % confidence intervals; the table of calls alone; 0 to measure here")
	flag.DurationVar(&o.slot, "slot", 300*time.Millisecond, "how long a slot is")
	flag.Var(&o.callers, "callers", "numbers of concurrent callers, separated by commas")
	only := flag.String("only", "", "regular expression of the `rows` to measure, matched with \"protocol: path\"; bare clients always run")
	flag.DurationVar(&o.changes, "changes", time.Second, "how long a slot is of calls while endpoints change; 0 for no such table")
	targets := flag.Int("targets", 16, "how many further targets to open for the memory table; 0 for no such table")
	profile := flag.String("cpuprofile", "", "write a CPU profile of all slots to this `file`")
	flag.Parse()
	var err error
	if o.only, err = regexp.Compile(*only); err != nil {
		log.Fatal("bench: -only: ", err)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Stdout, o, *targets, *profile); err != nil {
		log.Fatal("bench: ", err)
	}
}

type options struct {
	rounds  int
	paired  bool
	starts  int // 0 for none but this one
	slot    time.Duration
	callers callerCounts
	changes time.Duration // a slot of the table of changes
	only    *regexp.Regexp
}

// callerCounts is a flag.
type callerCounts []int

func (c *callerCounts) String() string { return strings.Trim(fmt.Sprint(*c), "[]") }

func (c *callerCounts) Set(s string) error {
	*c = nil
	for field := range strings.SplitSeq(s, ",") {
		n, err := strconv.Atoi(strings.TrimSpace(field))
		if err != nil || n < 1 {
			return fmt.Errorf("%q is not a number of callers", field)
		}
		*c = append(*c, n)
	}
	return nil
}

// run measures and prints.
func run(ctx context.Context, out io.Writer, o options, targets int, profile string) error {
	if o.starts > 0 {
		if profile != "" {
			return errors.New("-cpuprofile: with -starts there is nothing to profile in this process")
		}
		describeMachine(out, fmt.Sprintf("%d starts of %d rounds", o.starts, o.rounds))
		table := selectRows(o)
		if err := measureStarts(ctx, table, o); err != nil {
			return err
		}
		printTable(out, table, o)
		return nil
	}
	s, err := startServers(ctx)
	if err != nil {
		return err
	}
	defer s.stop()
	describeMachine(out, "rounds")
	if o.paired {
		o.changes, targets = 0, 0
	}
	if targets > 0 {
		// First, while the process is small.
		if err := printTargets(ctx, out, s, targets); err != nil {
			return err
		}
	}
	if profile != "" {
		f, err := os.Create(profile)
		if err != nil {
			return err
		}
		defer f.Close()
		if err := pprof.StartCPUProfile(f); err != nil {
			return err
		}
		defer pprof.StopCPUProfile()
	}
	if o.changes > 0 {
		if err := printChanges(ctx, out, s, o); err != nil {
			return err
		}
	}
	return printCalls(ctx, out, s, o)
}
