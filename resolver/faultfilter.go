package resolver

import (
	"context"
	"math"
	"math/rand/v2"
	"slices"
	"time"

	faultcommonv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/common/fault/v3"
	faultv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/fault/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/grpc/codes"

	"github.com/weft-mesh/weft/filter"
	"github.com/weft-mesh/weft/internal/pause"
	"github.com/weft-mesh/weft/resilience"
)

// faultKind is Envoy's fault filter (envoy.extensions.filters.http.fault.v3.HTTPFault, gRFC
// A33): it delays calls, answers them itself, and slows their responses down. Each fault is
// drawn by itself. The most specific override takes the place of the listener's
// configuration, but all count the calls that meet faults together, as long as the listener
// stays what it is.
//
// A delay is part of the call: it ends with the call's context, and with it the call. What
// policy bounds by a stream's duration, as gRPC's calls are, it bounds with the delay; a
// route's timeout, which HTTP's calls have, begins behind it (Envoy's router). Aborted
// calls are over before there is an attempt: they are not retried and not mirrored.
//
// There is no runtime: what its keys would change stays as it is configured.
type faultKind struct{}

func (faultKind) Types() []string { return []string{filterTypes + "fault.v3.HTTPFault"} }

// faultFilter is a configuration, and the filter that it makes.
type faultFilter struct {
	faults    resilience.Faults
	byHeader  faultHeaders
	most      uint32 // that may be active
	cluster   string // empty for all
	nodes     []string
	headers   []headerMatcher
	abortBody string
	reply     *filter.Reply // of aborts that the request's headers do not choose

	active *resilience.ActiveFaults
}

var (
	// The statistics by downstream cluster are a proxy's.
	faultFields = fieldNames("delay", "abort", "upstream_cluster", "headers", "downstream_nodes", "max_active_faults",
		"response_rate_limit", "disable_downstream_cluster_stats")
	faultDelayFields = fieldNames("fixed_delay", "header_delay", "percentage")
	faultAbortFields = fieldNames("http_status", "grpc_status", "header_abort", "percentage", "response_body")
	faultRateFields  = fieldNames("fixed_limit", "header_limit", "percentage")
)

func (faultKind) Parse(c *filter.Config) (any, error) {
	var m faultv3.HTTPFault
	if err := c.Decode(&m); err != nil {
		return nil, err
	}
	p := filterDecoder(c)
	p.warnUnread(&m, faultFields)
	f := &faultFilter{
		most: math.MaxUint32, cluster: m.GetUpstreamCluster(), nodes: m.GetDownstreamNodes(),
		active: &resilience.ActiveFaults{},
	}
	if n := m.GetMaxActiveFaults(); n != nil {
		f.most = n.GetValue()
	}
	var err error
	if f.headers, err = p.headerMatchers(m.GetHeaders()); err != nil {
		return nil, err
	}
	if err := f.delay(p.to("delay"), m.GetDelay()); err != nil {
		return nil, err
	}
	if err := f.abort(p.to("abort"), m.GetAbort()); err != nil {
		return nil, err
	}
	if err := f.throughput(p.to("response_rate_limit"), m.GetResponseRateLimit()); err != nil {
		return nil, err
	}
	return f, nil
}

func (f *faultFilter) delay(p *path, m *faultcommonv3.FaultDelay) (err error) {
	if m == nil {
		return nil
	}
	p.warnUnread(m, faultDelayFields)
	switch d := m.GetFaultDelaySecifier().(type) {
	case *faultcommonv3.FaultDelay_HeaderDelay_:
		f.byHeader.delay = true
	case *faultcommonv3.FaultDelay_FixedDelay:
		p := p.to("fixed_delay")
		if err := d.FixedDelay.CheckValid(); err != nil {
			return p.errorf("%w", err)
		}
		if f.faults.Delay.For = d.FixedDelay.AsDuration(); f.faults.Delay.For <= 0 {
			return p.errorf("must be more than zero")
		}
	default:
		return p.errorf("must have fixed_delay or header_delay")
	}
	f.faults.Delay.Share, err = p.to("percentage").faultFraction(m.GetPercentage())
	return err
}

func (f *faultFilter) abort(p *path, m *faultv3.FaultAbort) (err error) {
	if m == nil {
		return nil
	}
	p.warnUnread(m, faultAbortFields)
	if f.abortBody = m.GetResponseBody(); f.abortBody == "" {
		f.abortBody = "fault filter abort"
	}
	abort := &f.faults.Abort
	switch e := m.GetErrorType().(type) {
	case *faultv3.FaultAbort_HeaderAbort_:
		f.byHeader.abort = true
	case *faultv3.FaultAbort_HttpStatus:
		if abort.Status = int(e.HttpStatus); e.HttpStatus < 200 || e.HttpStatus >= 600 {
			return p.to("http_status").errorf("%d is not from 200 to 599", e.HttpStatus)
		}
	case *faultv3.FaultAbort_GrpcStatus:
		abort.Code = codeOf(uint64(e.GrpcStatus))
	default:
		return p.errorf("must have http_status, grpc_status or header_abort")
	}
	if !f.byHeader.abort {
		f.reply = f.answer(abort)
	}
	abort.Share, err = p.to("percentage").faultFraction(m.GetPercentage())
	return err
}

func (f *faultFilter) throughput(p *path, m *faultcommonv3.FaultRateLimit) (err error) {
	if m == nil {
		return nil
	}
	p.warnUnread(m, faultRateFields)
	switch l := m.GetLimitType().(type) {
	case *faultcommonv3.FaultRateLimit_HeaderLimit_:
		f.byHeader.throughput = true
	case *faultcommonv3.FaultRateLimit_FixedLimit_:
		if l.FixedLimit.GetLimitKbps() == 0 {
			return p.to("fixed_limit").to("limit_kbps").errorf("must be at least 1")
		}
		f.faults.Throughput.BytesPerSecond = bytesOf(l.FixedLimit.GetLimitKbps())
	default:
		return p.errorf("must have fixed_limit or header_limit")
	}
	f.faults.Throughput.Share, err = p.to("percentage").faultFraction(m.GetPercentage())
	return err
}

// faultFraction is the percentage of a fault. One that is not given is none, as in Envoy.
func (p *path) faultFraction(m *typev3.FractionalPercent) (resilience.Fraction, error) {
	f, err := p.fraction(m)
	if err != nil {
		return resilience.Fraction{}, err
	}
	return resilience.Fraction{Numerator: f.numerator, Denominator: f.denominator}, nil
}

// codeOf is a status that policy or a header gives by its number.
func codeOf(n uint64) codes.Code {
	if n > uint64(codes.Unauthenticated) {
		return codes.Unknown
	}
	return codes.Code(n)
}

// bytesOf is a rate in KiB a second in bytes.
func bytesOf(kib uint64) uint64 { return min(kib, math.MaxUint64/1024) * 1024 }

// New makes nothing of a configuration without faults, which is how a listener has a filter
// for its routes to override.
func (faultKind) New(config any, overrides []any) (filter.Filter, error) {
	f := *config.(*faultFilter)
	if n := len(overrides); n > 0 {
		f = *overrides[n-1].(*faultFilter)
		f.active = config.(*faultFilter).active
	}
	none := func(s resilience.Fraction) bool { return s.Numerator == 0 }
	if f.most == 0 || none(f.faults.Delay.Share) && none(f.faults.Abort.Share) && none(f.faults.Throughput.Share) {
		return nil, nil
	}
	return &f, nil
}

var downstreamNode = NewHeaderName("x-envoy-downstream-service-node")

func (f *faultFilter) Request(ctx context.Context, r *filter.Request) (filter.Follower, error) {
	if f.cluster != "" && f.cluster != r.Cluster {
		return nil, nil
	}
	faults := f.faults
	if f.byHeader.any() {
		f.byHeader.ask(&faults, &r.Header)
	}
	fault := faults.Draw(rand.Uint64)
	if fault == (resilience.Fault{}) || !f.matches(r) || !f.active.Enter(f.most) {
		return nil, nil
	}
	began := time.Now()
	if err := pause.For(ctx, fault.Delay); err != nil {
		f.active.Leave()
		return nil, err
	}
	if fault.BytesPerSecond > 0 && !fault.Abort {
		return &slowResponse{f.active, resilience.NewPace(fault.BytesPerSecond, began)}, nil
	}
	if !fault.Abort && !r.GRPC {
		return (*delayedRequest)(f), nil
	}
	f.active.Leave()
	switch {
	case !fault.Abort:
		return nil, nil
	case f.reply != nil:
		return nil, f.reply
	default:
		return nil, f.answer(&faults.Abort)
	}
}

// matches reports whether faults are for calls like this.
func (f *faultFilter) matches(r *filter.Request) bool {
	if len(f.nodes) > 0 && !slices.Contains(f.nodes, r.Header.Get(downstreamNode)) {
		return false
	}
	if len(f.headers) == 0 {
		return true
	}
	asked := requestOf(r)
	for i := range f.headers {
		if !f.headers[i].match(&asked) {
			return false
		}
	}
	return true
}

// answer is what aborted calls get.
func (f *faultFilter) answer(a *resilience.AbortFault) *filter.Reply {
	reply := &filter.Reply{Status: a.Status, Body: f.abortBody, Err: resilience.ErrFault}
	if a.Status == 0 {
		reply.Status, reply.Code, reply.Empty = 200, a.Code, a.Code == codes.OK
	}
	return reply
}

// delayedRequest follows an HTTP request that was delayed, and counts as active until it
// ends (Envoy); a delay of gRPC's does until it is over (gRFC A33).
type delayedRequest faultFilter

func (f *delayedRequest) End(filter.Outcome) { f.active.Leave() }

// slowResponse holds a response back.
type slowResponse struct {
	active *resilience.ActiveFaults
	pace   resilience.Pace
}

func (s *slowResponse) Piece() int                   { return s.pace.Piece() }
func (s *slowResponse) Pace(bytes int) time.Duration { return s.pace.Take(bytes, time.Now()) }
func (s *slowResponse) End(filter.Outcome)           { s.active.Leave() }
