package resolver

import (
	"strconv"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"

	"github.com/weft-mesh/weft/filter"
)

// rateLimit makes a descriptor of each request that it applies to: what a limit, of the
// process or of a service, is looked up by (envoy.config.route.v3.RateLimit).
type rateLimit struct {
	stage     uint32
	keyed     bool // has a disable_key: not for local limits
	actions   []limitAction
	override  *limitOverride // nil for none
	hits      *limitHits     // nil for one
	atEnd     bool           // counts when the call has ended
	xHeaders  routev3.RateLimit_XRateLimitOption
	withoutIt bool // an action cannot be had, and so no descriptor
}

// limitOverride is a limit to go by instead of the service's.
type limitOverride struct {
	requests uint32
	unit     typev3.RateLimitUnit
}

// limitHits is how many hits a request counts for.
type limitHits struct {
	number  uint64
	format  *substitution // nil for number
	refunds bool
}

// maxHits bounds the hits of a request (RateLimit.HitsAddend).
const maxHits = 1_000_000_000

// limitDescriptor is what a rateLimit makes of a request.
type limitDescriptor struct {
	entries  []limitEntry
	override *limitOverride
	hits     uint64
	counted  bool // hits are given
	refunds  bool
	xHeaders routev3.RateLimit_XRateLimitOption
}

type limitEntry struct{ key, value string }

// descriptors are what a route's limits make of a request.
func descriptors(limits []*rateLimit, r *filter.Request, route *limitedRoute) []limitDescriptor {
	in := &limitInput{request: r, asked: requestOf(r), route: route}
	var list []limitDescriptor
	for _, l := range limits {
		if d, ok := l.descriptor(in); ok {
			list = append(list, d)
		}
	}
	return list
}

func (l *rateLimit) descriptor(in *limitInput) (d limitDescriptor, ok bool) {
	d = limitDescriptor{entries: make([]limitEntry, 0, len(l.actions)), override: l.override, xHeaders: l.xHeaders}
	for i := range l.actions {
		a := &l.actions[i]
		value, there, ok := a.get(in)
		switch {
		case !ok:
			return d, false
		case there:
			d.entries = append(d.entries, limitEntry{a.key, value})
		}
	}
	if l.hits == nil {
		return d, true
	}
	d.counted, d.refunds, d.hits = true, l.hits.refunds, l.hits.number
	if l.hits.format == nil {
		return d, true
	}
	of := subjectOf(in.request, &in.asked)
	n, err := strconv.ParseUint(l.hits.format.value(&of), 10, 64)
	d.hits = n
	return d, err == nil && n <= maxHits
}

// limitPlace is where rate limits stand, which decides on what they may say.
type limitPlace uint8

const (
	ofRoutes limitPlace = iota
	ofLocalFilter
	ofServiceFilter
)

// maxStage bounds RateLimit.stage.
const maxStage = 10

// rateLimits reads the limits of a route, of a virtual host or of a filter.
func (p *path) rateLimits(list []*routev3.RateLimit, place limitPlace) ([]rateLimit, error) {
	var limits []rateLimit
	for i, m := range list {
		l, err := p.at("rate_limits", i).rateLimit(m, place)
		if err != nil {
			return nil, err
		}
		if !l.withoutIt {
			limits = append(limits, l)
		}
	}
	return limits, nil
}

var rateLimitFields = fieldNames("stage", "disable_key", "actions", "limit", "hits_addend", "apply_on_stream_done", "x_ratelimit_option")

func (p *path) rateLimit(m *routev3.RateLimit, place limitPlace) (l rateLimit, err error) {
	p.warnUnread(m, rateLimitFields)
	l = rateLimit{stage: m.GetStage().GetValue(), keyed: m.GetDisableKey() != "", atEnd: m.GetApplyOnStreamDone(), xHeaders: m.GetXRatelimitOption()}
	switch {
	case l.stage > maxStage:
		return l, p.to("stage").errorf("%d is more than %d", l.stage, maxStage)
	case len(m.GetActions()) == 0:
		return l, p.to("actions").errorf("must not be empty")
	case place != ofRoutes && m.GetStage() != nil:
		return l, p.to("stage").errorf("is for the rate_limits of routes and virtual hosts")
	case place != ofRoutes && l.keyed:
		return l, p.to("disable_key").errorf("is for the rate_limits of routes and virtual hosts")
	case place == ofLocalFilter && m.GetLimit() != nil:
		return l, p.to("limit").errorf("is not for local limits")
	}
	for i, one := range m.GetActions() {
		a, ok, err := p.at("actions", i).limitAction(one)
		if err != nil {
			return l, err
		}
		if !ok {
			l.withoutIt = true
		}
		l.actions = append(l.actions, a)
	}
	switch o := m.GetLimit().GetOverrideSpecifier().(type) {
	case *routev3.RateLimit_Override_DynamicMetadata_:
		p.to("limit").to("dynamic_metadata").warn()
	case *routev3.RateLimit_Override_RateLimit:
		l.override = &limitOverride{o.RateLimit.GetRequestsPerUnit(), o.RateLimit.GetUnit()}
	}
	if h := m.GetHitsAddend(); h != nil {
		q := p.to("hits_addend")
		l.hits = &limitHits{number: h.GetNumber().GetValue(), refunds: h.GetIsNegativeHits()}
		switch {
		case (h.GetNumber() == nil) == (h.GetFormat() == ""):
			return l, q.errorf("must have either number or format")
		case l.hits.number > maxHits:
			return l, q.to("number").errorf("%d is more than %d", l.hits.number, maxHits)
		case h.GetFormat() != "":
			if err := q.to("format").limitFormat(h.GetFormat(), &l); err != nil {
				return l, err
			}
		}
	}
	return l, nil
}

// limitFormat reads hits_addend.format. A command that is not known makes no number, and
// so no descriptor.
func (p *path) limitFormat(format string, l *rateLimit) error {
	sub, ok, err := p.substitution(format, false)
	switch {
	case err != nil:
		return err
	case !ok:
		p.warn()
		l.withoutIt = true
	case len(sub.parts) != 1:
		return p.errorf("must be exactly one command")
	}
	l.hits.format = sub
	return nil
}
