package main

import (
	"github.com/spf13/cobra"

	"github.com/weft-mesh/weft/xdsserver/policy"
)

func schemaCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "schema",
		Short: "Print the JSON Schema of the policy file",
		Long: "Schema prints the JSON Schema of the policy file. Editors that speak the YAML language server's\n" +
			"protocol complete and check a file that begins with\n\n" +
			"  # yaml-language-server: $schema=policy.schema.json",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, err := cmd.OutOrStdout().Write(policy.Schema())
			return err
		},
	}
}
