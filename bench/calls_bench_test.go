package main

import (
	"strings"
	"testing"
)

// BenchmarkCalls makes calls along each path, one caller at a time. Its times are no
// comparison: nothing is interleaved, main does that. It is for tools that count what no
// other process disturbs, such as instructions:
//
//	go test -c -o bench.test .
//	GOMAXPROCS=1 GODEBUG=asyncpreemptoff=1 GOGC=off valgrind --tool=callgrind \
//		./bench.test -test.run '^$' -test.bench 'Calls/HTTP1.1/Weft,_100_routes$' -test.benchtime 6000x
//
// and again with 2000x, to take the difference.
func BenchmarkCalls(b *testing.B) {
	s := startedServers(b)
	m := testMesh(b, s)
	for _, p := range protocols {
		b.Run(strings.ReplaceAll(p.name, "/", ""), func(b *testing.B) {
			for _, path := range p.paths {
				b.Run(strings.ReplaceAll(path.name, "/", ""), func(b *testing.B) {
					c, err := path.open(s, m)
					if err != nil {
						b.Fatal(err)
					}
					defer c.close()
					call, stop, err := c.caller()
					if err != nil {
						b.Fatal(err)
					}
					defer stop()
					for range 10 { // connects
						if err := call(); err != nil {
							b.Fatal(err)
						}
					}
					b.ReportAllocs()
					for b.Loop() {
						if err := call(); err != nil {
							b.Fatal(err)
						}
					}
				})
			}
		})
	}
}
