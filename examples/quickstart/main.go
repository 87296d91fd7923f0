// Command quickstart shows Weft at work, all of it in one process and on loopback:
// three gRPC and three HTTP backends, an xdsserver that serves a policy file, and a
// mesh through which calls of both kinds flow while the file is edited.
package main

import (
	"context"
	"fmt"
	"io"
	"log"
	"os"
	"os/signal"
	"path/filepath"
)

func main() {
	log.SetFlags(0)
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Stdout); err != nil {
		log.Fatal("quickstart: ", err)
	}
}

// run tells the story; it is what the test runs.
func run(ctx context.Context, out io.Writer) error {
	s, err := open(ctx)
	if err != nil {
		return err
	}
	defer s.close()
	fmt.Fprintf(out, "3 gRPC and 3 HTTP backends, an xdsserver on %s that serves %s,\n", s.control.addr, filepath.Base(s.control.path))
	fmt.Fprintf(out, "and one mesh; %d callers call through it without a pause, half by gRPC, half by HTTP.\n", callers)
	for i, c := range chapters {
		fmt.Fprintf(out, "\n%d. %s\n", i+1, c.title)
		if err := s.play(ctx, out, c); err != nil {
			return fmt.Errorf("%s: %w", c.title, err)
		}
	}
	failed, calls := s.load.stop()
	fmt.Fprintf(out, "\n%d calls from the first to the last, %d failed.\n", calls, failed)
	if failed > 0 {
		return fmt.Errorf("%d calls failed; the first: %w", failed, s.load.firstError())
	}
	return nil
}
