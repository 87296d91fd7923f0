package policy

import "errors"

// Parse reads a policy from YAML or JSON: one document, or several that make one
// policy together. The name of the file is for positions in errors. The error is
// an [Errors] with everything that is wrong.
func Parse(file string, data []byte) (*Policy, error) { return nil, errors.ErrUnsupported }

// Load reads a policy from a file, or from all *.yaml, *.yml and *.json files of a
// folder (not of the folders in it), in the order of their names, as one policy. An error of
// content is an [Errors]; one of the file system is as package os gives it.
func Load(path string) (*Policy, error) { return nil, errors.ErrUnsupported }
