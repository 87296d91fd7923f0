package balancer

import (
	"math"
	"time"
)

// SlowStart gives an endpoint that has just come a growing part of its weight
// (envoy SlowStartConfig; gRFC A100). It is for round_robin, least_request and
// client_side_weighted_round_robin. While it lasts an endpoint's weight is
//
//	weight × max(MinWeightPercent/100, (age/Window)^(1/Aggression))
//
// The age counts from when the cluster got the endpoint as a healthy one, or from when
// it passed an active health check that it had failed before. Under
// client_side_weighted_round_robin over gRPC it counts from when the connection became
// Ready instead, and is a second at least (gRFC A100); else it is at least a
// millisecond. That a source calls an endpoint unhealthy for a while begins nothing anew,
// as in Envoy.
//
// Shares are brought up to date some hundred times a window, no more often than ten
// times a second.
type SlowStart struct {
	// Window is how long it lasts. Zero or less is off.
	Window time.Duration
	// Aggression bends the ramp: above 1 it rises sooner, below 1 later. Zero means 1,
	// a straight line.
	Aggression float64
	// MinWeightPercent, 0..100, is the part of its weight that an endpoint begins with.
	// The compiler writes Envoy's default, 10.
	MinWeightPercent float64
}

const (
	slowStartFloor     = time.Millisecond // Envoy's
	slowStartFloorGRPC = time.Second      // gRFC A100's
	slowStartSteps     = 100
	slowStartMinStep   = 100 * time.Millisecond
)

// factor is the part of its weight that an endpoint of an age has, and how long until
// it is worth another look: zero when the endpoint has all of it.
func (s *SlowStart) factor(age, floor time.Duration) (part float64, next time.Duration) {
	if age >= s.Window {
		return 1, 0
	}
	part = float64(max(age, floor)) / float64(s.Window)
	if s.Aggression > 0 && s.Aggression != 1 {
		part = math.Pow(part, 1/s.Aggression)
	}
	// A factor of nothing would leave the endpoint without a call for good.
	part = min(1, max(part, s.MinWeightPercent/100, math.SmallestNonzeroFloat32))
	return part, min(max(s.Window/slowStartSteps, slowStartMinStep), max(s.Window-age, time.Millisecond))
}

// slowStart lowers the weights of links whose endpoints are new, and reports whether
// there was any.
func (r *round) slowStart(p *Policy, links []*Link, weights []float64) (ramping bool) {
	if p.SlowStart.Window <= 0 {
		return false
	}
	byReady := p.Kind == ClientSideWeightedRoundRobin && r.options.GRPC
	for i, l := range links {
		since, floor := l.endpoint.healthySince.Load(), slowStartFloor
		if byReady {
			since, floor = l.readySince.Load(), slowStartFloorGRPC
		}
		if e := (&member{endpoint: l.endpoint, health: l.endpoint.Health()}); since == 0 || e.class() != classHealthy {
			continue
		}
		part, next := p.SlowStart.factor(r.now.Sub(time.Unix(0, since)), floor)
		if next > 0 {
			weights[i] *= part
			ramping = true
			r.wakeIn(next)
		}
	}
	return ramping
}

// appeared notes when an endpoint was first healthy. The caller holds cluster.mu.
func (e *Endpoint) appeared(h Health) {
	if h.class() == classHealthy && e.healthySince.Load() == 0 {
		e.healthySince.Store(time.Now().UnixNano())
	}
}

// recovered has slow start begin anew: the endpoint passed an active health check that
// it had failed before (Envoy's last_hc_pass_time).
func (e *Endpoint) recovered(now time.Time) { e.healthySince.Store(now.UnixNano()) }
