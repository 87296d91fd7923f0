package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os/signal"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/weft-mesh/weft/xdsserver"
	"github.com/weft-mesh/weft/xdsserver/policy"
)

func serveCommand() *cobra.Command {
	var opts serveOptions
	cmd := &cobra.Command{
		Use:   "serve --policy FILE|DIR",
		Short: "Serve a policy over xDS, and what it is edited to",
		Long: "Serve compiles a policy and serves it over xDS v3: aggregated and by type, incremental and state of\n" +
			"the world. When the policy's files change, clients are told what changed for them. An edit with an\n" +
			"error in it is logged and changes nothing. SIGTERM and SIGINT end the streams gently, a second one at once.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			level := slog.LevelInfo
			if opts.verbose {
				level = slog.LevelDebug
			}
			log := slog.New(slog.NewTextHandler(cmd.ErrOrStderr(), &slog.HandlerOptions{Level: level}))
			return serve(cmd.Context(), opts, log)
		},
	}
	cmd.Flags().StringVar(&opts.policy, "policy", "", "the policy: a file, or a folder of .yaml, .yml and .json files")
	cmd.Flags().StringVar(&opts.listen, "listen", "127.0.0.1:18000", "the address to listen on; port 0 takes a free one")
	cmd.Flags().DurationVar(&opts.drain, "drain", 10*time.Second, "how long a shutdown may take")
	cmd.Flags().BoolVarP(&opts.verbose, "verbose", "v", false, "log what each policy change comes to")
	_ = cmd.MarkFlagRequired("policy") // fails only for a flag that does not exist
	return cmd
}

type serveOptions struct {
	policy, listen string
	drain          time.Duration
	verbose        bool
}

// serve runs the server until ctx or a signal ends it.
func serve(ctx context.Context, opts serveOptions, log *slog.Logger) error {
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	server := xdsserver.New(xdsserver.Options{Logger: log})
	defer server.Close()

	watching, unwatch := context.WithCancel(ctx)
	first, ended := make(chan error, 1), make(chan struct{})
	go func() {
		defer close(ended)
		follow(watching, opts.policy, server, log, first)
	}()
	defer func() {
		unwatch()
		<-ended
	}()
	select {
	case err := <-first:
		if err != nil {
			return err
		}
	case <-ctx.Done():
		return nil
	}

	l, err := net.Listen("tcp", opts.listen)
	if err != nil {
		return err
	}
	log.Info("serving xDS", "address", l.Addr().String(), "policy", opts.policy, "version", server.Version())
	served := make(chan error, 1)
	go func() { served <- server.Serve(l) }()
	select {
	case err := <-served:
		return fmt.Errorf("serve on %s: %w", l.Addr(), err)
	case <-ctx.Done():
	}

	stop() // a second signal has its usual effect
	log.Info("draining", "streams", len(server.Clients()), "at_most", opts.drain)
	drain, cancel := context.WithTimeout(context.WithoutCancel(ctx), opts.drain)
	defer cancel()
	if err := server.Drain(drain); err != nil {
		log.Warn("streams were cut off", "error", err)
	}
	log.Info("stopped")
	return <-served
}

// follow applies the policy at path and every change of it until ctx is done. It
// sends on first how the first attempt went.
func follow(ctx context.Context, path string, server *xdsserver.Server, log *slog.Logger, first chan<- error) {
	started := false
	policy.Watch(ctx, path, func(p *policy.Policy, err error) {
		var resources *policy.Resources
		if err == nil {
			resources, err = p.Compile()
		}
		if err == nil {
			err = server.Apply(resources)
		}
		switch {
		case err != nil && started:
			refuse(log, err)
		case err == nil:
			log.Info("policy applied", "policy", summary(resources), "version", server.Version())
		}
		if !started {
			started = true
			first <- err
		}
	})
}

// refuse logs each thing that is wrong with an edited policy, once.
func refuse(log *slog.Logger, err error) {
	const message = "policy refused, the running one stays"
	var problems policy.Errors
	if !errors.As(err, &problems) {
		log.Error(message, "error", err)
		return
	}
	for _, problem := range problems {
		log.Error(message, "error", problem)
	}
}
