package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/weft-mesh/weft/xdsserver/policy"
)

func validateCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "validate FILE|DIR...",
		Short: "Tell everything that is wrong with policies",
		Long: "Validate reads each policy as serve would. It prints what is wrong as file:line:col: message\n" +
			"to the standard error and exits with 1, or says ok and exits with 0.",
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, paths []string) error {
			var failed error
			for _, path := range paths {
				resources, err := load(path)
				if err != nil {
					cmd.PrintErrln(err)
					failed = errTold
					continue
				}
				fmt.Fprintf(cmd.OutOrStdout(), "%s: ok: %s\n", path, summary(resources))
			}
			return failed
		},
	}
}

func load(path string) (*policy.Resources, error) {
	p, err := policy.Load(path)
	if err != nil {
		return nil, err
	}
	return p.Compile()
}

// summary tells in a few words what a policy came to.
func summary(r *policy.Resources) string {
	return fmt.Sprintf("%d listeners, %d routes, %d clusters, %d endpoint sets, %d secrets",
		r.Len(policy.ListenerType), r.Len(policy.RouteType), r.Len(policy.ClusterType),
		r.Len(policy.EndpointType), r.Len(policy.SecretType))
}
