package resolver

import (
	"context"
	"math"
	"strconv"
	"time"

	"golang.org/x/net/http/httpguts"

	"github.com/weft-mesh/weft/filter"
	"github.com/weft-mesh/weft/resilience"
)

// LoadShedType is the type of the filter that bounds how many calls a server has in
// flight, which Envoy has no filter for. Its configuration is a TypedStruct with
// the fields of [LoadShed].
const LoadShedType = "type.googleapis.com/weft.LoadShed"

// LoadShed is the configuration of the filter of type [LoadShedType]. Durations are
// written as Go and protobuf write them: "5ms", "0.005s". The bound is one for
// all calls that pass the filter of a listener, on whatever route and by either
// protocol, and begins anew when the listener changes: calls that are in flight then
// are not counted any more. What is over it is answered with 503 (UNAVAILABLE).
//
// Its place is the last: behind what lets callers in, limits their rates and makes faults,
// so that what is in flight is what the server works on. For a bound that is not known
// beforehand there is adaptive concurrency. Envoy's overload manager sheds by what the
// process uses of memory and CPU, which this does not look at.
type LoadShed struct {
	// MaxRequests is how many calls may be in flight, at least 1.
	MaxRequests uint32 `json:"max_requests"`

	// Share, above 0 to 100 %, has calls let in only while less than that share of
	// MaxRequests is in flight: those with a small share are shed first. Not given
	// it is 100 %. It is the one field that routes can override.
	Share *float64 `json:"share"`

	// PriorityHeader is a header by which callers say how important a call is, and
	// Shares the share of calls by its value. If there is one for the route or the
	// listener, too, the smaller counts. Who may set the header is for filters before this
	// one to see to.
	PriorityHeader string             `json:"priority_header"`
	Shares         map[string]float64 `json:"shares"`

	// Queue has calls wait that are over the bound, but for those with a share of less
	// than 100 %. Not given, none does.
	Queue *LoadShedQueue `json:"queue"`

	// RetryAfter tells callers when to come back: Retry-After, in whole seconds, and
	// grpc-retry-pushback-ms (gRFC A6). Not given, they decide for themselves.
	RetryAfter string `json:"retry_after"`
}

// LoadShedQueue is where calls wait. It is what [resilience.ShedConfig] says of queues.
type LoadShedQueue struct {
	// Size is how many calls may wait, at least 1.
	Size uint32 `json:"size"`
	// Interval is how long a call may wait while the queue is empty now and then, and
	// Target how long while it was not for Interval. They are 100 ms and 5 ms where they
	// are not given.
	Interval string `json:"interval"`
	Target   string `json:"target"`
}

// loadShedKind is the kind of the filter.
type loadShedKind struct{}

func (loadShedKind) Types() []string { return []string{LoadShedType} }

func (loadShedKind) Parse(c *filter.Config) (any, error) {
	p := filterDecoder(c)
	var m LoadShed
	if err := c.Decode(&m); err != nil {
		return nil, err
	}
	v := &loadShed{share: 1}
	if m.Share != nil {
		var err error
		if v.share, err = p.shedShare("share", *m.Share); err != nil {
			return nil, err
		}
	}
	if c.Override {
		if m.MaxRequests != 0 || m.PriorityHeader != "" || m.Shares != nil || m.Queue != nil || m.RetryAfter != "" {
			return nil, p.errorf("an override has no field but share")
		}
		return v, nil
	}
	if m.MaxRequests == 0 {
		return nil, p.to("max_requests").errorf("must be at least 1")
	}
	if err := p.shedShares(&m, v); err != nil {
		return nil, err
	}
	shed := resilience.ShedConfig{MaxRequests: m.MaxRequests}
	var err error
	if m.Queue != nil {
		if shed, err = p.to("queue").shedQueue(m.Queue, shed); err != nil {
			return nil, err
		}
	}
	v.shed = resilience.NewShed(shed)
	v.refusal = newRefusal(503, "the server is overloaded", "load shedding")
	after, err := p.shedInterval("retry_after", m.RetryAfter, 0)
	if err != nil {
		return nil, err
	}
	if after > 0 {
		v.refusal.header = map[string][]string{"Retry-After": {strconv.Itoa(int(math.Ceil(after.Seconds())))}}
		v.pushback = pushback(strconv.FormatInt(max(1, after.Milliseconds()), 10))
	}
	return v, nil
}

// shedShares reads the shares by header.
func (p *path) shedShares(m *LoadShed, v *loadShed) error {
	switch {
	case m.PriorityHeader == "" && len(m.Shares) == 0:
		return nil
	case !httpguts.ValidHeaderFieldName(m.PriorityHeader):
		return p.to("priority_header").errorf("%q is not the name of a header", m.PriorityHeader)
	case len(m.Shares) == 0:
		return p.to("shares").errorf("must not be empty")
	}
	v.header, v.shares = filter.NewHeaderName(m.PriorityHeader), make(map[string]float64, len(m.Shares))
	for value, share := range m.Shares {
		var err error
		if v.shares[value], err = p.shedShare("shares["+value+"]", share); err != nil {
			return err
		}
	}
	return nil
}

func (p *path) shedShare(field string, percent float64) (float64, error) {
	if !(percent > 0 && percent <= 100) {
		return 0, p.to(field).errorf("%v is not a percentage above 0", percent)
	}
	return percent / 100, nil
}

func (p *path) shedQueue(q *LoadShedQueue, c resilience.ShedConfig) (resilience.ShedConfig, error) {
	if q.Size == 0 {
		return c, p.to("size").errorf("must be at least 1")
	}
	c.QueueSize = q.Size
	var err error
	if c.QueueInterval, err = p.shedInterval("interval", q.Interval, 100*time.Millisecond); err != nil {
		return c, err
	}
	c.QueueTarget, err = p.shedInterval("target", q.Target, 5*time.Millisecond)
	return c, err
}

// shedInterval reads a duration that is more than zero.
func (p *path) shedInterval(field, text string, unset time.Duration) (time.Duration, error) {
	if text == "" {
		return unset, nil
	}
	d, err := time.ParseDuration(text)
	if err != nil || d <= 0 {
		return 0, p.to(field).errorf("%q is not a duration greater than zero, such as 5ms", text)
	}
	return min(d, longestInterval), nil
}

func (loadShedKind) New(config any, overrides []any) (filter.Filter, error) {
	f := config.(*loadShed)
	if n := len(overrides); n > 0 {
		of := *f
		of.share = overrides[n-1].(*loadShed).share
		f = &of
	}
	return f, nil
}

// loadShed is the filter of a route, or what overrides one, which has only a share.
type loadShed struct {
	shed     *resilience.Shed // shared by all routes
	refusal  *refusal
	pushback pushback
	share    float64
	header   *filter.HeaderName // nil for none
	shares   map[string]float64
}

func (f *loadShed) Request(ctx context.Context, r *filter.Request) (filter.Follower, error) {
	share := f.shareOf(r)
	if f.shed.Enter(share) {
		return (*shedCall)(f), nil
	}
	if share == 1 {
		if in, err := f.wait(ctx); err != nil {
			return nil, err
		} else if in {
			return (*shedCall)(f), nil
		}
	}
	if r.Server && r.GRPC && f.pushback != "" {
		return f.pushback, f.refusal.of(r)
	}
	return nil, f.refusal.of(r)
}

func (f *loadShed) shareOf(r *filter.Request) float64 {
	share := f.share
	if f.header != nil {
		if of, ok := f.shares[r.Header.Get(f.header)]; ok {
			share = min(share, of)
		}
	}
	return share
}

// wait has a call wait in the queue, if there is one, and reports whether it was let in.
func (f *loadShed) wait(ctx context.Context) (bool, error) {
	w := f.shed.Wait(time.Now())
	if w == nil {
		return false, nil
	}
	timer := time.NewTimer(w.Timeout)
	defer timer.Stop()
	select {
	case <-w.Ready:
		return true, nil
	case <-timer.C:
	case <-ctx.Done():
	}
	if !f.shed.GiveUp(w) {
		return true, nil
	}
	return false, ctx.Err()
}

// shedCall follows calls that were let in, of which it needs to know nothing.
type shedCall loadShed

func (f *shedCall) End(filter.Outcome) { f.shed.Leave() }

// pushback tells gRPC clients that were refused for how many milliseconds not to try again
// (gRFC A6).
type pushback string

var pushbackName = filter.NewHeaderName("grpc-retry-pushback-ms")

func (p pushback) Trailer(r *filter.Response) { r.Trailer.Set(pushbackName, string(p)) }

func (pushback) End(filter.Outcome) {}
