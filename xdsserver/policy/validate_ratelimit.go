package policy

import (
	"net/netip"
	"time"
)

// rateLimit checks the limit of a service or a route of host; ofRoute says which.
func (v *validator) rateLimit(p path, l *RateLimit, ofRoute bool) {
	if l == nil {
		return
	}
	var given []string
	if l.TokenBucket != nil {
		given = append(given, "tokenBucket")
		v.tokenBucket(p.field("tokenBucket"), l.TokenBucket)
	}
	if len(l.Descriptors) > 0 {
		given = append(given, "descriptors")
		v.rateLimitDescriptors(p.field("descriptors"), l.Descriptors, false)
	}
	if s := l.Service; s != nil {
		given = append(given, "service")
		if ofRoute {
			v.nameErrorf(p.field("service"), `"service" is for the limits of services: write the filter itself to ask about the calls of a route`)
		} else {
			v.rateLimitService(p.field("service"), s)
		}
	}
	switch {
	case l.Disabled && !ofRoute:
		v.nameErrorf(p.field("disabled"), `"disabled" is for the limits of routes: leave the limit out`)
	case l.Disabled && len(given) > 0:
		v.nameErrorf(p.field(given[0]), `%q cannot stand beside "disabled"`, given[0])
	case !l.Disabled && len(given) == 0:
		v.missingf(p, "nothing is limited: say tokenBucket or descriptors")
	}
	if s := l.Status; s != nil && (*s < 400 || *s > 599) {
		v.errorf(p.field("status"), "status is %d: it must be from 400 to 599", *s)
	}
	if n := l.MaxDynamicDescriptors; n != nil && (*n < 1 || *n > 1<<20) {
		v.errorf(p.field("maxDynamicDescriptors"), "maxDynamicDescriptors is %d: it must be from 1 to %d", *n, 1<<20)
	}
}

func (v *validator) tokenBucket(p path, b *TokenBucket) {
	if n := b.TokensPerFill; n != nil && *n == 0 {
		v.errorf(p.field("tokensPerFill"), "tokensPerFill is 0: it must be 1 or more")
	}
	if b.FillInterval < 50*time.Millisecond && !v.incomplete[p.field("fillInterval")] && !v.incomplete[p] {
		v.errorf(p.field("fillInterval"), "%s: it must be 50ms or more", b.FillInterval)
	}
}

func (v *validator) rateLimitDescriptors(p path, list []*RateLimitDescriptor, ofService bool) {
	seen := make(map[string]bool)
	for i, d := range list {
		at := p.index(i)
		if len(d.Entries) == 0 {
			v.missingf(at, "the descriptor has no entries")
		}
		name := ""
		for j, e := range d.Entries {
			v.rateLimitEntry(at.field("entries").index(j), e, ofService)
			name += e.key() + "\x00" + e.Header + "\x00" + e.value() + "\x01"
		}
		if seen[name] && len(d.Entries) > 0 {
			v.nameErrorf(at, "the descriptor is the same as another one")
		}
		seen[name] = true
		switch {
		case ofService && d.TokenBucket != nil:
			v.nameErrorf(at.field("tokenBucket"), `"tokenBucket" is not for the descriptors of a service: it has its own limits`)
		case !ofService && d.TokenBucket == nil:
			v.missingf(at, "the descriptor has no tokenBucket")
		case d.TokenBucket != nil:
			v.tokenBucket(at.field("tokenBucket"), d.TokenBucket)
		}
	}
}

func (v *validator) rateLimitEntry(p path, e *RateLimitEntry, ofService bool) {
	var given []string
	if e.Header != "" {
		given = append(given, "header")
		if !httpToken.MatchString(e.Header) {
			v.errorf(p.field("header"), "%q is not the name of a header", shorten(e.Header))
		}
	}
	if e.GenericKey != "" {
		given = append(given, "genericKey")
	}
	if e.RemoteAddress {
		given = append(given, "remoteAddress")
	}
	v.exactlyOne(p, given, "header, genericKey and remoteAddress")
	switch {
	case e.Value == "":
	case ofService:
		v.nameErrorf(p.field("value"), `"value" is not for the descriptors of a service, which is told the value`)
	case e.GenericKey != "":
		v.nameErrorf(p.field("value"), `"value" is not for a genericKey, which is one`)
	case e.RemoteAddress:
		if _, err := netip.ParseAddr(e.Value); err != nil {
			v.errorf(p.field("value"), "%q is not an IP address", shorten(e.Value))
		}
	}
}

func (v *validator) rateLimitService(p path, s *RateLimitService) {
	if s.Target == "" {
		v.missingf(p, "the service has no target")
	}
	if s.Domain == "" {
		v.missingf(p, "the service has no domain")
	}
	if len(s.Descriptors) == 0 {
		v.missingf(p, "the service is asked about nothing: it has no descriptors")
	}
	v.rateLimitDescriptors(p.field("descriptors"), s.Descriptors, true)
	if s.FailureMode == "" {
		v.missingf(p, "say what becomes of calls when the service fails: deny or allow")
	}
	v.enum(p.field("failureMode"), string(s.FailureMode), s.FailureMode)
	v.notNegative(p.field("timeout"), s.Timeout)
}

// nils finds what only a program can leave out.
func (l *RateLimit) nils(p path, check func(path, bool)) {
	if l == nil {
		return
	}
	list := func(p path, descriptors []*RateLimitDescriptor) {
		for i, d := range descriptors {
			check(p.index(i), d == nil)
			if d == nil {
				continue
			}
			for j, e := range d.Entries {
				check(p.index(i).field("entries").index(j), e == nil)
			}
		}
	}
	list(p.field("descriptors"), l.Descriptors)
	if l.Service != nil {
		list(p.field("service").field("descriptors"), l.Service.Descriptors)
	}
}

// rateLimitFilters checks that no filter has the name of a limit's.
func (v *validator) rateLimitFilters(p path, host string, filters []*Filter) {
	local, service := v.policy.hasRateLimits(host)
	for i, f := range filters {
		if f.Name == localRateLimitFilter && local || f.Name == rateLimitFilter && service {
			v.nameErrorf(p.index(i).field("name"), "%q is the name of the filter that the rate limits of %q are made of: name this one otherwise", f.Name, host)
		}
	}
}
