package resolver

import (
	"context"
	"slices"

	mutationv3 "github.com/envoyproxy/go-control-plane/envoy/config/common/mutation_rules/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	headermutationv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/header_mutation/v3"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/weft-mesh/weft/filter"
)

// headerMutationKind is Envoy's header mutation filter
// (envoy.extensions.filters.http.header_mutation.v3.HeaderMutation). Unlike the headers
// that routes change, its mutations are applied one after another, each to what the one
// before left. Those of all levels apply: the listener's, then the overrides from the
// most specific to the least, or the other way around if
// most_specific_header_mutations_wins is set.
//
// Pseudo-headers and Host have changes of their own (rewrites) and are refused. The
// values that query parameters are given are escaped, and the query is sorted by name, as
// in Envoy. Parameters that nothing changes stay as they were, where Envoy decodes them
// and does not escape them again, also those that it wrote at another level.
type headerMutationKind struct{}

func (headerMutationKind) Types() []string {
	return []string{filterTypes + "header_mutation.v3.HeaderMutation", filterTypes + "header_mutation.v3.HeaderMutationPerRoute"}
}

// mutations are one level's.
type mutations struct {
	request, response, trailer headerMutation
	query                      []queryMutation
	mostSpecificWins           bool
}

func (headerMutationKind) Parse(c *filter.Config) (any, error) {
	p := filterDecoder(c)
	if c.Override {
		var m headermutationv3.HeaderMutationPerRoute
		if err := c.Decode(&m); err != nil {
			return nil, err
		}
		return p.to("mutations").mutations(m.GetMutations())
	}
	var m headermutationv3.HeaderMutation
	if err := c.Decode(&m); err != nil {
		return nil, err
	}
	v, err := p.to("mutations").mutations(m.GetMutations())
	if err != nil {
		return nil, err
	}
	v.mostSpecificWins = m.GetMostSpecificHeaderMutationsWins()
	return v, nil
}

func (headerMutationKind) New(config any, overrides []any) (filter.Filter, error) {
	listener := config.(*mutations)
	overrides = slices.Clone(overrides)
	if !listener.mostSpecificWins {
		slices.Reverse(overrides)
	}
	all := &mutations{}
	f := &mutationFilter{}
	for _, level := range append([]any{config}, overrides...) {
		m := level.(*mutations)
		all.response = append(all.response, m.response...)
		all.trailer = append(all.trailer, m.trailer...)
		if len(m.request)+len(m.query) > 0 {
			f.requests = append(f.requests, requestMutations{slices.Clone(m.request), m.query})
		}
	}
	for _, m := range f.requests {
		m.headers.inTurn()
	}
	all.response.inTurn()
	all.trailer.inTurn()
	switch response, trailer := len(all.response) > 0, len(all.trailer) > 0; {
	case response && trailer:
		f.follower = &responseAndTrailerMutations{responseMutations{all}, trailerMutations{all}}
	case response:
		f.follower = &responseMutations{all}
	case trailer:
		f.follower = &trailerMutations{all}
	case f.requests == nil:
		return nil, nil
	}
	return f, nil
}

// inTurn has each change see what the one before left.
func (m headerMutation) inTurn() {
	for i := range m {
		m[i].level = uint8(i % 2)
	}
}

var mutationsFields = fieldNames("request_mutations", "query_parameter_mutations", "response_mutations", "response_trailers_mutations")

func (p *path) mutations(m *headermutationv3.Mutations) (*mutations, error) {
	v := &mutations{}
	if m == nil {
		return v, nil
	}
	p.warnUnread(m, mutationsFields)
	var err error
	for _, list := range []struct {
		field string
		from  []*mutationv3.HeaderMutation
		to    *headerMutation
	}{
		{"request_mutations", m.GetRequestMutations(), &v.request},
		{"response_mutations", m.GetResponseMutations(), &v.response},
		{"response_trailers_mutations", m.GetResponseTrailersMutations(), &v.trailer},
	} {
		for i, one := range list.from {
			op, ok, err := p.at(list.field, i).mutation(one, list.to != &v.request)
			if err != nil {
				return nil, err
			}
			if ok {
				*list.to = append(*list.to, op)
			}
		}
	}
	v.query, err = p.queryMutations(m.GetQueryParameterMutations())
	return v, err
}

// mutation reads an envoy.config.common.mutation_rules.v3.HeaderMutation. ok is false
// for one whose value cannot be told.
func (p *path) mutation(m *mutationv3.HeaderMutation, response bool) (op headerOp, ok bool, err error) {
	switch a := m.GetAction().(type) {
	case *mutationv3.HeaderMutation_Remove:
		op, err = p.to("remove").headerOp(a.Remove, 0)
		return op, true, err
	case *mutationv3.HeaderMutation_Append:
		op, err = p.to("append").headerOption(a.Append, response, 0)
		return op, op.value != nil, err
	case *mutationv3.HeaderMutation_RemoveOnMatch_:
		q := p.to("remove_on_match").to("key_matcher")
		op.action = removeMatching
		if op.names, err = q.stringMatcher(a.RemoveOnMatch.GetKeyMatcher()); err != nil {
			return op, false, q.errorf("%w", err)
		}
		return op, true, nil
	default:
		return op, false, p.errorf("must say what to do (remove, append, remove_on_match)")
	}
}

// queryMutation is one change of the query parameters.
type queryMutation struct {
	name   string
	action corev3.KeyValueAppend_KeyValueAppendAction
	value  *substitution // nil to remove
}

func (p *path) queryMutations(list []*corev3.KeyValueMutation) ([]queryMutation, error) {
	var mutations []queryMutation
	for i, m := range list {
		q := p.at("query_parameter_mutations", i)
		if m.GetAppend() == nil {
			if m.GetRemove() == "" {
				return nil, q.errorf("must say what to do (append, remove)")
			}
			mutations = append(mutations, queryMutation{name: m.GetRemove()})
			continue
		}
		q = q.to("append")
		record := m.GetAppend().GetRecord()
		text, ok := record.GetValue().GetKind().(*structpb.Value_StringValue)
		switch _, known := corev3.KeyValueAppend_KeyValueAppendAction_name[int32(m.GetAppend().GetAction())]; {
		case !known:
			return nil, q.to("action").errorf("unknown value %d", m.GetAppend().GetAction())
		case record.GetKey() == "":
			return nil, q.to("record").to("key").errorf("must not be empty")
		case !ok:
			return nil, q.to("record").to("value").errorf("must be a string")
		}
		value, ok, err := q.to("record").to("value").substitution(text.StringValue, false)
		if err != nil {
			return nil, err
		}
		if !ok {
			q.to("record").to("value").warn()
			continue
		}
		mutations = append(mutations, queryMutation{name: record.GetKey(), action: m.GetAppend().GetAction(), value: value})
	}
	return mutations, nil
}

func (m *queryMutation) apply(to *queryParameters, of *subject) {
	if m.value == nil {
		to.del(m.name)
		return
	}
	switch m.action {
	case corev3.KeyValueAppend_ADD_IF_ABSENT:
		if to.has(m.name) {
			return
		}
	case corev3.KeyValueAppend_OVERWRITE_IF_EXISTS:
		if !to.has(m.name) {
			return
		}
		to.del(m.name)
	case corev3.KeyValueAppend_OVERWRITE_IF_EXISTS_OR_ADD:
		to.del(m.name)
	}
	to.add(m.name, m.value.value(of))
}

// mutationFilter is the filter of a route.
type mutationFilter struct {
	requests []requestMutations
	follower filter.Follower // nil if no response changes
}

func (f *mutationFilter) Request(_ context.Context, r *filter.Request) (filter.Follower, error) {
	asked := requestOf(r)
	of := subjectOf(r, &asked)
	for i := range f.requests {
		f.requests[i].apply(r, &of)
	}
	return f.follower, nil
}

// requestMutations are what one level changes of requests: all of its headers before its
// query parameters, and both before another level's.
type requestMutations struct {
	headers headerMutation
	query   []queryMutation
}

func (m *requestMutations) apply(r *filter.Request, of *subject) {
	m.headers.apply(&r.Header, of)
	if len(m.query) == 0 || r.GRPC {
		return
	}
	parameters := parseQuery(r.RawQuery)
	for i := range m.query {
		m.query[i].apply(&parameters, of)
	}
	r.RawQuery = parameters.String()
	of.request.RawQuery = r.RawQuery
}

type responseMutations struct{ *mutations }

func (m *responseMutations) Response(_ context.Context, r *filter.Response) error {
	m.response.applyResponse(&r.Header, r)
	return nil
}

func (*responseMutations) End(filter.Outcome) {}

type trailerMutations struct{ *mutations }

func (m *trailerMutations) Trailer(r *filter.Response) { m.trailer.applyResponse(&r.Trailer, r) }

func (*trailerMutations) End(filter.Outcome) {}

type responseAndTrailerMutations struct {
	responseMutations
	trailerMutations
}

func (*responseAndTrailerMutations) End(filter.Outcome) {}

// applyResponse changes the header or the trailer of a response.
func (m headerMutation) applyResponse(h *filter.Header, r *filter.Response) {
	asked := requestOf(r.Request)
	of := subjectOf(r.Request, &asked)
	of.response, of.status = &r.Header, r.Status
	m.apply(h, &of)
}

// requestOf is a filter's request for matchers.
func requestOf(r *filter.Request) Request {
	return Request{
		Authority: r.Authority, Path: r.Path, RawQuery: r.RawQuery,
		Method: r.Method, Scheme: r.Scheme, GRPC: r.GRPC, Headers: &r.Header,
	}
}

// subjectOf is a filter's request for format strings.
func subjectOf(r *filter.Request, asked *Request) subject {
	return subject{request: asked, protocol: r.Protocol, route: r.Route, cluster: r.Cluster}
}
