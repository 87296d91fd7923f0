package policy

import (
	"fmt"
	"strings"
	"testing"
)

// large is a policy of 1,000 services with 10 endpoints and 2 routes each.
func large() []byte {
	var b strings.Builder
	b.WriteString("services:\n")
	for i := range 1000 {
		fmt.Fprintf(&b, "  s%d:\n    protocol: grpc\n    subsets: {v1: {version: v1}}\n    endpoints:\n", i)
		for j := range 10 {
			fmt.Fprintf(&b, "    - {address: 10.%d.%d.%d:80, zone: z%d, weight: 2, labels: {version: v%d}}\n", i/256, i%256, j, j%3, j%2)
		}
	}
	b.WriteString("routes:\n")
	for i := range 1000 {
		fmt.Fprintf(&b, "  s%d:\n  - {match: {path: {prefix: /a/}, headers: {x: {exact: y}}}, to: v1}\n  - {to: {v1: 1, s%d: 2}}\n", i, i)
	}
	return []byte(b.String())
}

func BenchmarkParse(b *testing.B) {
	data := large()
	b.SetBytes(int64(len(data)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Parse("large.yaml", data); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkCompile(b *testing.B) {
	p, err := Parse("large.yaml", large())
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := p.Compile(); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkDiff(b *testing.B) {
	p, err := Parse("large.yaml", large())
	if err != nil {
		b.Fatal(err)
	}
	before, err := p.Compile()
	if err != nil {
		b.Fatal(err)
	}
	p.Services["s7"].Endpoints = p.Services["s7"].Endpoints[1:]
	after, err := p.Compile()
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if changed, _ := after.Diff(before); len(changed) != 1 && len(changed) != 2 {
			b.Fatal(len(changed))
		}
	}
}
