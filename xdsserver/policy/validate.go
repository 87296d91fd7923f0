package policy

import (
	"fmt"
	"iter"
	"maps"
	"regexp"
	"slices"
	"strings"
)

// validator finds everything in a policy that would not work, beyond what its
// types already forbid.
type validator struct {
	policy *Policy
	scope  *scope
	errs   Errors

	broken, incomplete map[path]bool // from reading; nil in a policy that a program built
}

// validate returns the errors, not sorted.
func (v *validator) validate() Errors {
	if v.nils(); len(v.errs) > 0 {
		return v.errs
	}
	v.scope = newScope(v.policy)
	for _, name := range sortedKeys(v.policy.Services) {
		v.service(path("services").field(name), name, v.policy.Services[name])
	}
	for _, host := range sortedKeys(v.policy.Routes) {
		v.routes(path("routes").field(host), host, v.policy.Routes[host])
	}
	for _, host := range sortedKeys(v.policy.Filters) {
		v.filters(path("filters").field(host), host, v.policy.Filters[host])
		v.sessionFilters(path("filters").field(host), host, v.policy.Filters[host])
		v.faultFilters(path("filters").field(host), host, v.policy.Filters[host])
		v.rateLimitFilters(path("filters").field(host), host, v.policy.Filters[host])
	}
	v.enum("unknownHosts", string(v.policy.UnknownHosts), v.policy.UnknownHosts)
	v.resources()
	return v.errs
}

// nils finds what only a program can leave out: a name with nothing behind it.
func (v *validator) nils() {
	check := func(p path, isNil bool) {
		if isNil {
			v.report(p, v.policy.positions.find(p).value, "nil")
		}
	}
	for name, service := range v.policy.Services {
		p := path("services").field(name)
		check(p, service == nil)
		if service == nil {
			continue
		}
		service.Fault.nils(p.field("fault"), check)
		service.RateLimit.nils(p.field("rateLimit"), check)
		for i, endpoint := range service.Endpoints {
			check(p.field("endpoints").index(i), endpoint == nil)
		}
	}
	for host, filters := range v.policy.Filters {
		for i, f := range filters {
			check(path("filters").field(host).index(i), f == nil)
		}
	}
	for host, routes := range v.policy.Routes {
		for i, route := range routes {
			p := path("routes").field(host).index(i)
			check(p, route == nil)
			if route == nil {
				continue
			}
			for name, o := range route.Filters {
				check(p.field("filters").field(name), o == nil)
			}
			for j, h := range route.Hash {
				check(p.field("hash").index(j), h == nil)
			}
			for j, m := range route.Mirror {
				check(p.field("mirror").index(j), m == nil)
			}
			route.Fault.nils(p.field("fault"), check)
			route.RateLimit.nils(p.field("rateLimit"), check)
			if route.Retry != nil {
				for name, header := range route.Retry.Headers {
					check(p.field("retry").field("headers").field(name), header == nil)
				}
				for name, header := range route.Retry.RequestHeaders {
					check(p.field("retry").field("requestHeaders").field(name), header == nil)
				}
			}
			if route.Match == nil {
				continue
			}
			for name, header := range route.Match.Headers {
				check(p.field("match").field("headers").field(name), header == nil)
			}
			for name, query := range route.Match.Query {
				check(p.field("match").field("query").field(name), query == nil)
			}
		}
	}
}

// errorf reports that the value at p is wrong, unless it is not what was written.
func (v *validator) errorf(p path, format string, args ...any) *Error {
	for q := p; ; q = q.parent() {
		if v.broken[q] {
			return new(Error)
		}
		if q == "" {
			break
		}
	}
	return v.report(p, v.policy.positions.find(p).value, fmt.Sprintf(format, args...))
}

// nameErrorf reports that the name of the part at p is wrong.
func (v *validator) nameErrorf(p path, format string, args ...any) *Error {
	return v.report(p, v.policy.positions.find(p).key, fmt.Sprintf(format, args...))
}

// missingf reports that something is missing in the part at p, unless the reason
// may be that it could not be read.
func (v *validator) missingf(p path, format string, args ...any) {
	if !v.incomplete[p] {
		v.nameErrorf(p, format, args...)
	}
}

func (v *validator) report(p path, at Position, msg string) *Error {
	err := &Error{File: at.File, Line: at.Line, Column: at.Column, Path: string(p), Message: msg}
	v.errs = append(v.errs, err)
	return err
}

// maxName bounds the names of services, subsets and hosts, in bytes.
const maxName = 253

var nameSyntax = regexp.MustCompile(`^[A-Za-z0-9_]([A-Za-z0-9_.:-]*[A-Za-z0-9_])?$`)

// name checks a name that becomes a part of resource names: it must not hold what
// separates the parts.
func (v *validator) name(p path, kind, name string) {
	switch {
	case len(name) > maxName:
		v.nameErrorf(p, "the name of the %s is longer than %d characters", kind, maxName)
	case !nameSyntax.MatchString(name):
		v.nameErrorf(p, "%q cannot name a %s: use letters, digits, and between them . _ : and -", name, kind)
	}
}

// regex checks an RE2 expression.
func (v *validator) regex(p path, expr string) {
	if _, err := regexp.Compile(expr); err != nil {
		v.errorf(p, "bad regex: %s", strings.TrimPrefix(err.Error(), "error parsing regexp: "))
	}
}

// exactlyOne checks that one of the named alternatives is given.
func (v *validator) exactlyOne(p path, given []string, all string) {
	switch {
	case len(given) == 0:
		v.missingf(p, "say one of %s", all)
	case len(given) > 1:
		v.nameErrorf(p.field(given[1]), "%q cannot stand beside %q: say one of %s", given[1], given[0], all)
	}
}

// resources checks the raw resources: by Envoy's own rules for their fields, and
// that no two resources of a type have one name.
func (v *validator) resources() {
	first := make(map[resourceID]path)
	for p, id := range v.scope.generated() {
		first[id] = p
	}
	for i, m := range v.policy.Resources {
		p := path("resources").index(i)
		if m == nil {
			if v.broken == nil {
				v.errorf(p, "the resource is nil")
			}
			continue
		}
		typeURL, name, ok := resourceName(m)
		switch {
		case !ok:
			v.errorf(p, "%s is not the type of a resource: want one of %s", m.ProtoReflect().Descriptor().FullName(),
				strings.Join(sortedResourceTypes(), ", "))
			continue
		case name == "":
			v.errorf(p, "the %s has no name", shortType(typeURL))
			continue
		}
		if other, ok := first[resourceID{typeURL, name}]; ok {
			err := v.errorf(p, "the %s %q is defined already", shortType(typeURL), name)
			if at := v.policy.positions.find(other).key; at != (Position{}) {
				err.Message += ": see " + at.String()
			} else {
				err.Message += " by " + string(other)
			}
		}
		first[resourceID{typeURL, name}] = p
		for _, problem := range problems(m) {
			v.errorf(p, "%s %q: %s", shortType(typeURL), name, problem)
		}
	}
}

// sortedKeys are a map's keys in order.
func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

// concat is the names of several sequences.
func concat(lists ...iter.Seq[string]) iter.Seq[string] {
	return func(yield func(string) bool) {
		for _, list := range lists {
			for name := range list {
				if !yield(name) {
					return
				}
			}
		}
	}
}
