package policy

// fault checks the faults of a service or a route of host; ofRoute says which.
func (v *validator) fault(p path, host string, f *Fault, ofRoute bool) {
	if f == nil {
		return
	}
	var given []string
	if d := f.Delay; d != nil {
		given = append(given, "delay")
		v.faultDelay(p.field("delay"), d)
	}
	if a := f.Abort; a != nil {
		given = append(given, "abort")
		v.faultAbort(p.field("abort"), a)
	}
	if l := f.ResponseRateLimit; l != nil {
		given = append(given, "responseRateLimit")
		v.faultRateLimit(p.field("responseRateLimit"), l)
	}
	switch {
	case f.Disabled && !ofRoute:
		v.nameErrorf(p.field("disabled"), `"disabled" is for the faults of routes: leave the fault out`)
	case f.Disabled && len(given) > 0:
		v.nameErrorf(p.field(given[0]), `%q cannot stand beside "disabled"`, given[0])
	case !f.Disabled && len(given) == 0:
		v.missingf(p, "nothing goes wrong: say delay, abort or responseRateLimit")
	}
	if f.UpstreamCluster != "" {
		at := p.field("upstreamCluster")
		if _, ok := inbound(host); ok {
			v.nameErrorf(at, `"upstreamCluster" is for the faults of clients: calls to a server are where they go`)
		} else {
			v.destination(at, host, f.UpstreamCluster)
		}
	}
	v.headerMatches(p.field("headers"), f.Headers)
}

func (f *Fault) nils(p path, check func(path, bool)) {
	if f == nil {
		return
	}
	for name, header := range f.Headers {
		check(p.field("headers").field(name), header == nil)
	}
}

func (v *validator) faultDelay(p path, d *FaultDelay) {
	var given []string
	if d.FixedDelay != nil {
		given = append(given, "fixedDelay")
		v.positive(p.field("fixedDelay"), d.FixedDelay)
	}
	if d.HeaderDelay {
		given = append(given, "headerDelay")
	}
	v.exactlyOne(p, given, "fixedDelay and headerDelay")
	v.percentage(p, d.Percentage)
}

func (v *validator) faultAbort(p path, a *FaultAbort) {
	var given []string
	if s := a.HTTPStatus; s != nil {
		given = append(given, "httpStatus")
		if *s < 200 || *s > 599 {
			v.errorf(p.field("httpStatus"), "httpStatus is %d: it must be from 200 to 599", *s)
		}
	}
	if s := a.GRPCStatus; s != nil {
		given = append(given, "grpcStatus")
		if *s > 16 {
			v.errorf(p.field("grpcStatus"), "grpcStatus is %d: it must be from 0 to 16", *s)
		}
	}
	if a.HeaderAbort {
		given = append(given, "headerAbort")
	}
	v.exactlyOne(p, given, "httpStatus, grpcStatus and headerAbort")
	v.percentage(p, a.Percentage)
}

func (v *validator) faultRateLimit(p path, l *FaultRateLimit) {
	var given []string
	if l.LimitKbps != nil {
		given = append(given, "limitKbps")
		if *l.LimitKbps < 1 {
			v.errorf(p.field("limitKbps"), "limitKbps is 0: it must be 1 or more")
		}
	}
	if l.HeaderLimit {
		given = append(given, "headerLimit")
	}
	v.exactlyOne(p, given, "limitKbps and headerLimit")
	v.percentage(p, l.Percentage)
}

// percentage checks what a program may have set.
func (v *validator) percentage(p path, f Fraction) {
	if f > 1_000_000 {
		v.errorf(p.field("percentage"), "the percentage %s is more than 100%%", f)
	}
}

// faultFilters checks that no filter has the name of a fault's.
func (v *validator) faultFilters(p path, host string, filters []*Filter) {
	for i, f := range filters {
		if f.Name == faultFilter && v.policy.hasFaults(host) {
			v.nameErrorf(p.index(i).field("name"), "%q is the name of the filter that the faults of %q are made of: name this one otherwise", f.Name, host)
		}
	}
}
