package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
)

// policyFile is the policy, which the mesh follows.
type policyFile struct{ path, text string }

func newPolicyFile(text string) (*policyFile, error) {
	dir, err := os.MkdirTemp("", "weft-canary-")
	if err != nil {
		return nil, err
	}
	f := &policyFile{path: filepath.Join(dir, "policy.yaml"), text: text}
	if err := f.write(text); err != nil {
		return nil, errors.Join(err, f.remove())
	}
	return f, nil
}

var split = regexp.MustCompile(`to: \{v1: \d+, v2: \d+\}`)

// share has v2 get this part of the calls, in percent.
func (f *policyFile) share(percent int) error {
	return f.write(split.ReplaceAllString(f.text, fmt.Sprintf("to: {v1: %d, v2: %d}", 100-percent, percent)))
}

// write replaces the file whole, so that the mesh never reads half of one.
func (f *policyFile) write(text string) error {
	next := f.path + ".new"
	if err := os.WriteFile(next, []byte(text), 0o600); err != nil {
		return err
	}
	return os.Rename(next, f.path)
}

func (f *policyFile) remove() error { return os.RemoveAll(filepath.Dir(f.path)) }
