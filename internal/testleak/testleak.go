// Package testleak fails the tests of a package whose goroutines outlive them.
package testleak

import (
	"fmt"
	"os"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// Main runs the tests, as a TestMain does, and ends the process. Goroutines that are left
// then have a minute to end: goleak by itself gives them half a second, which is less than
// net/http may take to close a connection, and than a busy machine takes for anything.
func Main(m *testing.M) {
	code := m.Run()
	if code == 0 {
		if err := await(time.Now().Add(time.Minute)); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	os.Exit(code)
}

func await(deadline time.Time) error {
	for {
		if err := goleak.Find(); err == nil || time.Now().After(deadline) {
			return err
		}
	}
}
