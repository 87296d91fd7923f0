package main

import (
	"regexp"
	"strings"
	"testing"
)

// The shares are checked by the program itself, which waits for them.
func TestZones(t *testing.T) {
	var out strings.Builder
	if err := run(&out); err != nil {
		t.Fatalf("%v\n%s", err, out.String())
	}
	want := regexp.MustCompile(`(?s)^1\. .*zone a: (100|99) %.*\n2\. .*zone a: 6[678] %.*\n3\. .*zone a: [01] %.*\n4\. .*zone a: (100|99) %.*\n\d+ calls, 0 failed\n$`)
	if !want.MatchString(out.String()) {
		t.Errorf("printed\n%s", out.String())
	}
}
