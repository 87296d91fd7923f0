package policy

func (v *validator) session(p path, s *Session, ofRoute bool) {
	var given []string
	if s.Cookie != nil {
		given = append(given, "cookie")
		v.sessionCookie(p.field("cookie"), s.Cookie)
	}
	if s.Header != "" {
		given = append(given, "header")
		if !httpToken.MatchString(s.Header) {
			v.errorf(p.field("header"), "%q is not the name of a header", shorten(s.Header))
		}
	}
	if !ofRoute {
		v.exactlyOne(p, given, "cookie and header")
		if s.Disabled {
			v.nameErrorf(p.field("disabled"), `"disabled" is for the sessions of routes: leave the session out`)
		}
		return
	}
	if s.Disabled {
		given = append(given, "disabled")
	}
	v.exactlyOne(p, given, "cookie, header and disabled")
	if s.KeepDraining {
		v.nameErrorf(p.field("keepDraining"), `"keepDraining" is for the sessions of services: it holds for their endpoints`)
	}
}

func (v *validator) sessionCookie(p path, c *SessionCookie) {
	if !httpToken.MatchString(c.Name) && !v.incomplete[p] {
		v.errorf(p, "%q is not the name of a cookie", shorten(c.Name))
	}
	v.notNegative(p.field("ttl"), c.TTL)
	if c.Path != "" && !cookiePath.MatchString(c.Path) {
		v.errorf(p.field("path"), "%q is not a path of cookies", shorten(c.Path))
	}
}

// sessionFilters checks that no filter has the name of a session's.
func (v *validator) sessionFilters(p path, host string, filters []*Filter) {
	for i, f := range filters {
		if f.Name == sessionFilter && v.policy.hasSessions(host) {
			v.nameErrorf(p.index(i).field("name"), "%q is the name of the filter that the sessions of %q are made of: name this one otherwise", f.Name, host)
		}
	}
}
