package main

import (
	"strings"
	"testing"
)

func TestEmbedded(t *testing.T) {
	var out strings.Builder
	if err := run(&out); err != nil {
		t.Fatal(err)
	}
	want := "by gRPC, order 7 comes from orders\nby HTTP, order 7 comes from shop\n"
	if out.String() != want {
		t.Errorf("printed %q, want %q", out.String(), want)
	}
}
