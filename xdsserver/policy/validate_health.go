package policy

import "strings"

func (v *validator) outlierDetection(p path, o *OutlierDetection) {
	v.positive(p.field("interval"), o.Interval)
	v.positive(p.field("baseEjectionTime"), o.BaseEjectionTime)
	v.positive(p.field("maxEjectionTime"), o.MaxEjectionTime)
	v.notNegative(p.field("maxEjectionTimeJitter"), o.MaxEjectionTimeJitter)
	if o.MaxEjectionTime != nil {
		if base := durationOr(o.BaseEjectionTime, defaultBaseEjectionTime); *o.MaxEjectionTime < base {
			v.errorf(p.field("maxEjectionTime"), "maxEjectionTime is %s, less than baseEjectionTime, %s", *o.MaxEjectionTime, base)
		}
	}
	for _, percent := range []struct {
		name  string
		value *uint32
	}{
		{"maxEjectionPercent", o.MaxEjectionPercent},
		{"enforcingConsecutive5xx", o.EnforcingConsecutive5xx},
		{"enforcingConsecutiveGatewayFailure", o.EnforcingConsecutiveGatewayFailure},
		{"enforcingConsecutiveLocalOriginFailure", o.EnforcingConsecutiveLocalOriginFailure},
		{"enforcingSuccessRate", o.EnforcingSuccessRate},
		{"enforcingLocalOriginSuccessRate", o.EnforcingLocalOriginSuccessRate},
		{"failurePercentageThreshold", o.FailurePercentageThreshold},
		{"enforcingFailurePercentage", o.EnforcingFailurePercentage},
		{"enforcingFailurePercentageLocalOrigin", o.EnforcingFailurePercentageLocalOrigin},
	} {
		if percent.value != nil && *percent.value > 100 {
			v.errorf(p.field(percent.name), "%s is %d: at most 100", percent.name, *percent.value)
		}
	}
	for _, local := range []struct {
		name  string
		value *uint32
	}{
		{"consecutiveLocalOriginFailure", o.ConsecutiveLocalOriginFailure},
		{"enforcingConsecutiveLocalOriginFailure", o.EnforcingConsecutiveLocalOriginFailure},
		{"enforcingLocalOriginSuccessRate", o.EnforcingLocalOriginSuccessRate},
		{"enforcingFailurePercentageLocalOrigin", o.EnforcingFailurePercentageLocalOrigin},
	} {
		if local.value != nil && !o.SplitExternalLocalOriginErrors {
			v.nameErrorf(p.field(local.name), `%q counts only with splitExternalLocalOriginErrors: true`, local.name)
		}
	}
}

func (v *validator) healthCheck(p path, c *HealthCheck) {
	var given []string
	if c.HTTP != nil {
		given = append(given, "http")
		v.httpHealthCheck(p.field("http"), c.HTTP)
	}
	if c.GRPC != nil {
		given = append(given, "grpc")
		v.checkHost(p.field("grpc").field("authority"), c.GRPC.Authority)
	}
	if c.TCP != nil {
		given = append(given, "tcp")
		if c.TCP.Send != "" && len(c.TCP.Receive) == 0 {
			v.nameErrorf(p.field("tcp").field("send"), `nothing is sent without "receive"`)
		}
		for i, text := range c.TCP.Receive {
			if text == "" {
				v.errorf(p.field("tcp").field("receive").index(i), "an empty text is always received")
			}
		}
	}
	switch len(given) {
	case 1:
	case 0:
		v.missingf(p, "the check says nothing of how: one of http, grpc and tcp")
	default:
		v.nameErrorf(p.field(given[1]), "%q cannot stand beside %q", given[1], given[0])
	}
	v.positive(p.field("interval"), c.Interval)
	v.positive(p.field("timeout"), c.Timeout)
	v.notNegative(p.field("initialJitter"), c.InitialJitter)
	v.notNegative(p.field("intervalJitter"), c.IntervalJitter)
	v.positive(p.field("noTrafficInterval"), c.NoTrafficInterval)
	v.positive(p.field("noTrafficHealthyInterval"), c.NoTrafficHealthyInterval)
	v.positive(p.field("unhealthyInterval"), c.UnhealthyInterval)
	v.positive(p.field("unhealthyEdgeInterval"), c.UnhealthyEdgeInterval)
	v.positive(p.field("healthyEdgeInterval"), c.HealthyEdgeInterval)
	if n := c.UnhealthyThreshold; n != nil && *n == 0 {
		v.errorf(p.field("unhealthyThreshold"), "unhealthyThreshold is 0: at least 1")
	}
	if n := c.HealthyThreshold; n != nil && *n == 0 {
		v.errorf(p.field("healthyThreshold"), "healthyThreshold is 0: at least 1")
	}
}

func (v *validator) httpHealthCheck(p path, c *HTTPHealthCheck) {
	if at := p.field("path"); !v.incomplete[at] {
		if _, long := v.policy.positions[at]; !long { // a plain string
			at = p
		}
		if !strings.HasPrefix(c.Path, "/") || strings.ContainsFunc(c.Path, func(r rune) bool { return r <= ' ' || r == 0x7f }) {
			v.errorf(at, "bad path %q: want one such as /healthz", shorten(c.Path))
		}
	}
	v.checkHost(p.field("host"), c.Host)
	v.enum(p.field("method"), string(c.Method), c.Method)
	for _, name := range sortedKeys(c.Headers) {
		switch at := p.field("headers").field(name); {
		case !httpToken.MatchString(name):
			v.nameErrorf(at, "%q is not the name of a header", shorten(name))
		case strings.ContainsFunc(c.Headers[name], func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f }):
			v.errorf(at, "the value of a header holds no control characters")
		}
	}
	for name, statuses := range map[string][]uint32{"expectedStatuses": c.ExpectedStatuses, "retriableStatuses": c.RetriableStatuses} {
		for i, status := range statuses {
			if status < 100 || status > 599 {
				v.errorf(p.field(name).index(i), "%d is not a status: 100 to 599", status)
			}
		}
	}
}

func (v *validator) checkHost(p path, host string) {
	if strings.ContainsFunc(host, func(r rune) bool { return r <= ' ' || r >= 0x7f || strings.ContainsRune(`/?#@\|`, r) }) {
		v.errorf(p, "%q is not a host", shorten(host))
	}
}
