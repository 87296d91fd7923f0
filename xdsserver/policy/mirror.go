package policy

import (
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
)

// Mirror has calls sent to a further destination, too. Nobody waits for its answers,
// and what it does changes nothing for the calls
// (envoy.config.route.v3.RouteAction.RequestMirrorPolicy). The plain string "v2" is
// {to: v2}. Stock gRPC clients do not mirror.
type Mirror struct {
	// To is a destination, as in the route's to.
	To string `policy:"to,required"`
	// Fraction mirrors only this part of the route's calls, such as 10%.
	Fraction *Fraction `policy:"fraction"`
	// Host is the host that copies name. Not given, the call's with -shadow behind it.
	Host string `policy:"host"`
	// KeepHost leaves -shadow out. Not beside host.
	KeepHost bool `policy:"keepHost"`
}

func (m *Mirror) fromText(s string) { m.To = s }

func (v *validator) mirror(p path, host string, m *Mirror) {
	at := p.field("to")
	if _, long := v.policy.positions[at]; !long { // plain text
		at = p
	}
	if m.To == "" {
		v.missingf(p, "the mirror goes nowhere: name a service or a subset")
	} else {
		v.destination(at, host, m.To)
	}
	if m.Fraction != nil && *m.Fraction > 1_000_000 {
		v.errorf(p.field("fraction"), "the fraction %s is more than 100%%", *m.Fraction)
	}
	v.newHost(p.field("host"), m.Host)
	if m.Host != "" && m.KeepHost {
		v.nameErrorf(p.field("keepHost"), `"keepHost" cannot stand beside "host": both say the host`)
	}
}

func (c *compiler) mirrors(host string, list []*Mirror) []*routev3.RouteAction_RequestMirrorPolicy {
	var policies []*routev3.RouteAction_RequestMirrorPolicy
	for _, m := range list {
		p := &routev3.RouteAction_RequestMirrorPolicy{
			Cluster:                       c.scope.destinations(host, m.To)[0].cluster,
			DisableShadowHostSuffixAppend: m.KeepHost,
			HostRewriteLiteral:            m.Host,
		}
		if m.Fraction != nil {
			p.RuntimeFraction = &corev3.RuntimeFractionalPercent{DefaultValue: fractionalPercent(*m.Fraction)}
		}
		policies = append(policies, p)
	}
	return policies
}
