// Command xdsserver is Weft's control plane: it serves a policy file over xDS.
//
//	xdsserver serve --policy policy.yaml     serve it, and what it is edited to
//	xdsserver validate policy.yaml           tell everything that is wrong with it
//	xdsserver schema                         print its JSON Schema, for editors
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/weft-mesh/weft/xdsserver/policy"
)

func main() {
	os.Exit(run(context.Background(), os.Args[1:], os.Stdout, os.Stderr))
}

// errTold is the error of a command that has already told what is wrong.
var errTold = errors.New("failed")

// run carries out one command line and returns the exit code: 0, or 1 for any error.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	root := &cobra.Command{
		Use:           "xdsserver",
		Short:         "Serve a policy to Weft, gRPC and Envoy over xDS",
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	root.AddCommand(serveCommand(), validateCommand(), schemaCommand())
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return 0
	}
	var problems policy.Errors
	switch {
	case errors.Is(err, errTold):
	case errors.As(err, &problems):
		fmt.Fprintln(stderr, problems) // a line each, as editors and people expect
	default:
		fmt.Fprintln(stderr, "xdsserver:", err)
	}
	return 1
}
