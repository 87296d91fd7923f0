package balancer

import "testing"

// BenchmarkInFlight is the part of a pick and its end that every policy has: to count the
// call in and out again, two atomic steps.
func BenchmarkInFlight(b *testing.B) {
	b.ReportAllocs()
	e := new(Endpoint)
	for b.Loop() {
		e.begin()
		e.end()
	}
}
