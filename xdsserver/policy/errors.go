package policy

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Error is one thing that is wrong with a policy.
type Error struct {
	// File, Line and Column say where, both counted from 1, columns in
	// characters. They are zero in a policy that was not read from a file.
	File         string
	Line, Column int

	// Path is the place within the policy, such as services.orders.endpoints[1].
	// It is empty where the document cannot be read at all.
	Path string

	// Message says what is wrong.
	Message string

	// Suggestion is the nearest name that exists, where a name does not; else empty.
	Suggestion string
}

// Error is file:line:col: message, or path: message without a file.
func (e *Error) Error() string {
	var b strings.Builder
	switch {
	case e.Line > 0:
		fmt.Fprintf(&b, "%s: ", Position{e.File, e.Line, e.Column})
	case e.File != "":
		fmt.Fprintf(&b, "%s: ", e.File)
	case e.Path != "":
		fmt.Fprintf(&b, "%s: ", e.Path)
	}
	b.WriteString(e.Message)
	if e.Suggestion != "" {
		fmt.Fprintf(&b, " (did you mean %q?)", e.Suggestion)
	}
	return b.String()
}

// Errors is everything that is wrong with a policy, in the order of files, lines
// and columns. It is never empty. errors.As finds it, and each *Error in it.
type Errors []*Error

// Error has a line for each error.
func (e Errors) Error() string {
	lines := make([]string, len(e))
	for i, err := range e {
		lines[i] = err.Error()
	}
	return strings.Join(lines, "\n")
}

// Unwrap gives errors.Is and errors.As the single errors.
func (e Errors) Unwrap() []error {
	list := make([]error, len(e))
	for i, err := range e {
		list[i] = err
	}
	return list
}

// sorted returns e in the order in which a person would work through it, and nil
// for no errors.
func (e Errors) sorted() error {
	if len(e) == 0 {
		return nil
	}
	slices.SortStableFunc(e, func(a, b *Error) int {
		return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line),
			cmp.Compare(a.Column, b.Column), cmp.Compare(a.Path, b.Path))
	})
	return e
}
