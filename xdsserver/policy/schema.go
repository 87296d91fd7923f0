package policy

import (
	_ "embed"
	"slices"
)

//go:generate go test -run ^TestSchemaIsCurrent$ -update .

//go:embed schema.json
var schema []byte

// Schema returns a JSON Schema (draft 2020-12) of the policy file, for editors
// that complete and check while people write. It says what may stand where; what
// the parts must be to one another only the reader knows. The slice is the
// caller's own.
//
// The schema is made from the model's types and comments by this package's tests,
// which fail when it is not current.
func Schema() []byte { return slices.Clone(schema) }
