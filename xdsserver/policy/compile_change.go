package policy

import (
	"google.golang.org/protobuf/types/known/wrapperspb"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
)

// answer sets the action of a route that goes to no destination; false if it does.
func (r *Route) answer(route *routev3.Route) bool {
	switch {
	case r.Redirect != nil:
		route.Action = &routev3.Route_Redirect{Redirect: redirect(r.Redirect)}
	case r.Respond != nil:
		response := &routev3.DirectResponseAction{Status: r.Respond.Status}
		if r.Respond.Body != "" {
			response.Body = &corev3.DataSource{Specifier: &corev3.DataSource_InlineString{InlineString: r.Respond.Body}}
		}
		route.Action = &routev3.Route_DirectResponse{DirectResponse: response}
	default:
		return false
	}
	return true
}

var redirectCodes = map[uint32]routev3.RedirectAction_RedirectResponseCode{
	0:   routev3.RedirectAction_MOVED_PERMANENTLY,
	301: routev3.RedirectAction_MOVED_PERMANENTLY,
	302: routev3.RedirectAction_FOUND,
	303: routev3.RedirectAction_SEE_OTHER,
	307: routev3.RedirectAction_TEMPORARY_REDIRECT,
	308: routev3.RedirectAction_PERMANENT_REDIRECT,
}

func redirect(r *Redirect) *routev3.RedirectAction {
	action := &routev3.RedirectAction{
		HostRedirect: r.Host,
		PortRedirect: r.Port,
		StripQuery:   r.StripQuery,
		ResponseCode: redirectCodes[r.Status],
	}
	if r.Scheme != "" {
		action.SchemeRewriteSpecifier = &routev3.RedirectAction_SchemeRedirect{SchemeRedirect: string(r.Scheme)}
	}
	switch {
	case r.Path != "":
		action.PathRewriteSpecifier = &routev3.RedirectAction_PathRedirect{PathRedirect: r.Path}
	case r.Prefix != "":
		action.PathRewriteSpecifier = &routev3.RedirectAction_PrefixRewrite{PrefixRewrite: r.Prefix}
	case r.Regex != nil:
		action.PathRewriteSpecifier = &routev3.RedirectAction_RegexRewrite{RegexRewrite: regexRewrite(r.Regex)}
	}
	return action
}

func regexRewrite(r *RegexRewrite) *matcherv3.RegexMatchAndSubstitute {
	return &matcherv3.RegexMatchAndSubstitute{Pattern: regex(r.Pattern), Substitution: r.Substitution}
}

// rewrite changes path and host of what the action sends.
func rewrite(action *routev3.RouteAction, r *Rewrite) {
	if r == nil {
		return
	}
	action.PrefixRewrite = r.Prefix
	if r.Template != "" {
		action.PathRewritePolicy = rewriteTemplate(r.Template)
	}
	if r.Regex != nil {
		action.RegexRewrite = regexRewrite(r.Regex)
	}
	switch {
	case r.Host != "":
		action.HostRewriteSpecifier = &routev3.RouteAction_HostRewriteLiteral{HostRewriteLiteral: r.Host}
	case r.EndpointHost:
		action.HostRewriteSpecifier = &routev3.RouteAction_AutoHostRewrite{AutoHostRewrite: wrapperspb.Bool(true)}
	}
}

// headers sets the changes of headers.
func headers(route *routev3.Route, h *Headers) {
	if h == nil {
		return
	}
	route.RequestHeadersToAdd, route.RequestHeadersToRemove = headerChanges(h.Request)
	route.ResponseHeadersToAdd, route.ResponseHeadersToRemove = headerChanges(h.Response)
}

func headerChanges(c *HeaderChanges) (add []*corev3.HeaderValueOption, remove []string) {
	if c == nil {
		return nil, nil
	}
	for _, one := range []struct {
		values map[string]string
		action corev3.HeaderValueOption_HeaderAppendAction
	}{
		{c.Set, corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD},
		{c.Append, corev3.HeaderValueOption_APPEND_IF_EXISTS_OR_ADD},
		{c.Add, corev3.HeaderValueOption_ADD_IF_ABSENT},
	} {
		for _, name := range sortedKeys(one.values) {
			add = append(add, &corev3.HeaderValueOption{
				Header:       &corev3.HeaderValue{Key: name, Value: one.values[name]},
				AppendAction: one.action,
			})
		}
	}
	return add, c.Remove
}
