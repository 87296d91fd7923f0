package main

import (
	"fmt"
	"strings"
)

// routeCounts are the sizes of route tables that there are.
var routeCounts = []int{1, 100, 1000}

// target names the listener of a service whose route table has so many routes.
func target(service string, routes int) string { return fmt.Sprintf("%s-%d", service, routes) }

// furtherTargets is how many targets there are beside those that are measured, each
// with a cluster of its own, for either protocol.
const furtherTargets = 64

func furtherTarget(service string, i int) string { return fmt.Sprintf("further-%s-%d", service, i) }

// policyText is the policy that all clients go by, those of grpc-go too. Every service
// has the same three endpoints and is balanced by round robin, as the bare clients
// are, and has limits, retries, outlier detection and breakers that never come to act;
// the breakers are Weft's alone. What else Weft and grpc-go do not both do is not in it.
// The last route of a table takes the calls; one that another route took would fail.
func policyText(a addresses) string {
	var b strings.Builder
	service := func(name, protocol string, endpoints []string) {
		fmt.Fprintf(&b, "  %s: {protocol: %s, balance: {policy: round_robin}, limits: {maxRequests: 10000, retryBudget: {}}, outlierDetection: {consecutive5xx: 5}, breaker: {endpoint: {}, cluster: {}}, endpoints: [%q, %q, %q]}\n",
			name, protocol, endpoints[0], endpoints[1], endpoints[2])
	}
	b.WriteString("services:\n")
	service("grpc", "grpc", a.GRPC)
	service("http", "http", a.HTTP)
	service("h2c", "http2", a.HTTP)
	for name, connections := range map[string]string{
		limitedTarget: "", limitedTarget + "-further": fmt.Sprintf(", connections: {maxConnections: 10, maxConcurrentStreams: %d}", limitedStreams),
	} {
		fmt.Fprintf(&b, "  %s: {protocol: grpc, endpoints: [%q]%s}\n", name, a.Limited, connections)
	}
	b.WriteString("  nowhere: {protocol: grpc, endpoints: []}\n")
	for i := range furtherTargets {
		service(furtherTarget("grpc", i), "grpc", a.GRPC)
		service(furtherTarget("http", i), "http", a.HTTP)
	}
	b.WriteString("routes:\n")
	for _, service := range []string{"grpc", "http", "h2c"} {
		for _, n := range routeCounts {
			fmt.Fprintf(&b, "  %s:\n", target(service, n))
			for i := range n - 1 {
				fmt.Fprintf(&b, "    - {match: {%s}, to: nowhere}\n", otherMatch(i))
			}
			fmt.Fprintf(&b, "    - {match: {path: {prefix: %s}}, to: %s, retry: {attempts: 3, on: [unavailable, gateway-error]}}\n", echoPrefix, service)
		}
	}
	return b.String()
}

// limitedTarget is the backend that limits streams, and with "-further" behind it the
// same with as many connections as it takes.
const limitedTarget = "limited"

// otherMatch is the i-th route before the one that takes the calls: of four, two match
// another method, one another service, and one the method that is called, for
// a tenant that is not calling.
func otherMatch(i int) string {
	switch i % 4 {
	case 0, 1:
		return fmt.Sprintf("path: {exact: /bench.Echo/Other%d}", i)
	case 2:
		return fmt.Sprintf("path: {prefix: /bench.Service%d/}", i)
	default:
		return fmt.Sprintf("path: {exact: %s}, headers: {x-tenant: {exact: tenant-%d}}", echoPath, i)
	}
}
