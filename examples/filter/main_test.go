package main

import (
	"strings"
	"testing"
)

func TestFilter(t *testing.T) {
	var out strings.Builder
	if err := run(&out); err != nil {
		t.Fatal(err)
	}
	want := `gRPC, any method: signed by web
HTTP, /orders/7: signed by web
HTTP, /admin/orders/7: signed by admin
HTTP, /public/about: not signed
`
	if out.String() != want {
		t.Errorf("printed %q, want %q", out.String(), want)
	}
}
