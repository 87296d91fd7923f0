package envoy

import (
	"time"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"google.golang.org/protobuf/types/known/durationpb"
)

// pace is how many times as long the times of a rule are.
type pace int

const (
	usual pace = 1
	// unhurried leaves a second where the usual pace leaves a fifth.
	unhurried pace = 5
)

// stretch makes the times longer that end attempts and calls. Those between attempts stay.
func (p pace) stretch(a *routev3.RouteAction) {
	for _, d := range timesOf(a) {
		much := durationpb.New(d.AsDuration() * time.Duration(p))
		d.Seconds, d.Nanos = much.GetSeconds(), much.GetNanos()
	}
}

// timed reports whether time has a say in what comes of calls of a rule.
func timed(a *routev3.RouteAction) bool { return len(timesOf(a)) > 0 }

func timesOf(a *routev3.RouteAction) (list []*durationpb.Duration) {
	for _, d := range []*durationpb.Duration{
		a.GetTimeout(), a.GetIdleTimeout(),
		a.GetMaxStreamDuration().GetMaxStreamDuration(), a.GetMaxStreamDuration().GetGrpcTimeoutHeaderMax(),
		a.GetRetryPolicy().GetPerTryTimeout(), a.GetRetryPolicy().GetPerTryIdleTimeout(),
	} {
		if d.AsDuration() > 0 {
			list = append(list, d)
		}
	}
	return list
}
