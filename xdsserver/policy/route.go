package policy

import "time"

// Route says what becomes of the calls that it matches: exactly one of to, toHeader,
// redirect and respond is given (envoy.config.route.v3.Route). Those of a server have
// just name, match, fault, rateLimit and filters.
type Route struct {
	// Name is for people: logs, metrics and explanations show it. It may be empty.
	Name string `policy:"name"`

	// Match says which calls the route takes. Not given, all.
	Match *Match `policy:"match"`

	// To is where the calls go: the name of a destination, or several names with
	// their weights. A destination is a subset of the route's own service (v1),
	// a service (payments), a subset of one (payments/v2), a raw Cluster
	// resource, or passthrough: the address that the caller named. A name that means two of these is an error: say orders/v1 for
	// the subset, or rename one.
	To Destinations `policy:"to"`

	// ToHeader is the name of a header that names the cluster of each call: that of a
	// service (payments), of a subset (payments|v2), or a raw one. Calls without the
	// header, or with one that names no cluster, fail. Whoever makes the calls chooses
	// among all clusters: not for calls that are made for somebody else.
	ToHeader string `policy:"toHeader"`

	// Mirror has calls sent to further destinations, too.
	Mirror []*Mirror `policy:"mirror"`

	// Redirect answers HTTP requests with another URL, for the client to follow.
	Redirect *Redirect `policy:"redirect"`

	// Respond answers calls without asking a backend.
	Respond *Respond `policy:"respond"`

	// Rewrite changes the path and the host of calls on their way to the backend.
	Rewrite *Rewrite `policy:"rewrite"`

	// Headers changes the headers of requests and responses.
	Headers *Headers `policy:"headers"`

	// Session keeps the calls of a session at one endpoint, in place of what the route's
	// own service says of sessions.
	Session *Session `policy:"session"`

	// Fault has calls fail on purpose, in place of what the name's own service says of
	// faults.
	Fault *Fault `policy:"fault"`

	// RateLimit bounds how many calls are made, or served, in place of the buckets that
	// the name's own service has.
	RateLimit *RateLimit `policy:"rateLimit"`

	// Filters overrides filters of the name that the route is for, by their names.
	Filters map[string]*FilterOverride `policy:"filters"`

	// Hash says what of a call is hashed, for destinations whose policy is ring_hash
	// or maglev. The hashes of several entries make one. A call for which no entry
	// gives a hash goes to any endpoint.
	Hash []*Hash `policy:"hash"`

	// Timeout bounds the whole call, retries included. Not given or 0s means no
	// timeout. Where a destination speaks gRPC it is the maxStreamDuration too,
	// unless that is given, since gRPC clients know that field only (gRFC A31).
	Timeout *time.Duration `policy:"timeout"`

	// MaxStreamDuration bounds how long a call's stream may be open, from its
	// start. Not given or 0s means no bound.
	MaxStreamDuration *time.Duration `policy:"maxStreamDuration"`

	// IdleTimeout bounds the time in which nothing comes or goes of a call. Not given
	// means what the client has of its own: nothing in Weft, five minutes in Envoy. 0s
	// means no bound.
	IdleTimeout *time.Duration `policy:"idleTimeout"`

	// Retry has calls that fail tried again.
	Retry *Retry `policy:"retry"`

	// Hedge has calls sent again before they have failed.
	Hedge *Hedge `policy:"hedge"`

	// Priority says by which of a service's limits calls are bounded. Empty means
	// default.
	Priority RoutePriority `policy:"priority"`
}

// Destinations are the names that a route sends calls to, with their weights: each
// gets its weight's part of the sum. Weights are from 0, and not all zero. The
// plain string "v1" is {v1: 1}.
type Destinations map[string]uint32

// Match says which calls a route takes: those for which everything given holds
// (envoy.config.route.v3.RouteMatch).
type Match struct {
	// Path is compared with the call's path, without the query. In gRPC the path
	// is /package.Service/Method. Not given, every path.
	Path *PathMatch `policy:"path"`

	// Headers are compared with the call's headers, by name, in gRPC with its
	// metadata. Names are case-insensitive.
	Headers map[string]*HeaderMatch `policy:"headers"`

	// Method is the HTTP method, such as GET.
	Method string `policy:"method"`

	// Query is compared with the parameters of the URL's query, by name. gRPC
	// calls have none, so that a gRPC client passes over the route.
	Query map[string]*QueryMatch `policy:"query"`

	// Fraction takes only this part of the calls that match otherwise, such as 2.5%.
	Fraction *Fraction `policy:"fraction"`
}

// PathMatch compares a path in one way: exactly one of prefix, exact, regex,
// separatedPrefix and template is given. Stock gRPC clients refuse the last two
// (gRFC A28).
type PathMatch struct {
	// Prefix is how the path starts, such as /shop.Orders/.
	Prefix *string `policy:"prefix"`
	// Exact is the whole path, such as /shop.Orders/Get.
	Exact *string `policy:"exact"`
	// Regex is an RE2 expression that matches the whole path.
	Regex *string `policy:"regex"`
	// SeparatedPrefix is one or more whole segments: /shop is the path /shop and
	// what is under /shop/, but not /shopping.
	SeparatedPrefix *string `policy:"separatedPrefix"`
	// Template is a URI template such as /users/{id}/orders/** in the syntax of
	// envoy.extensions.path.match.uri_template.v3.
	Template *string `policy:"template"`
	// IgnoreCase compares without regard to case. Not with regex and template.
	IgnoreCase bool `policy:"ignoreCase"`
}

// HeaderMatch compares a header's value in one way: exactly one of exact, prefix,
// suffix, contains, regex, present and range is given
// (envoy.config.route.v3.HeaderMatcher).
type HeaderMatch struct {
	// Exact is the whole value.
	Exact *string `policy:"exact"`
	// Prefix is how the value starts. Not empty.
	Prefix *string `policy:"prefix"`
	// Suffix is how the value ends. Not empty.
	Suffix *string `policy:"suffix"`
	// Contains is a part of the value. Not empty.
	Contains *string `policy:"contains"`
	// Regex is an RE2 expression that matches the whole value.
	Regex *string `policy:"regex"`
	// Present asks whether the header is there at all; false, whether it is not.
	Present *bool `policy:"present"`
	// Range is where the value lies, as a decimal integer.
	Range *Range `policy:"range"`
	// IgnoreCase compares without regard to case. Only with exact, prefix,
	// suffix and contains.
	IgnoreCase bool `policy:"ignoreCase"`
	// Invert turns the result around. A header that is missing does not match,
	// inverted or not, unless treatMissingAsEmpty is given.
	Invert bool `policy:"invert"`
	// TreatMissingAsEmpty takes a header that is missing for one with an empty value.
	TreatMissingAsEmpty bool `policy:"treatMissingAsEmpty"`
}

// Range is the integers from start up to, but not with, end.
type Range struct {
	// Start is the first integer of the range.
	Start int64 `policy:"start,required"`
	// End is the first integer after the range; it is greater than start.
	End int64 `policy:"end,required"`
}

// QueryMatch compares a query parameter in one way: exactly one of exact, prefix,
// suffix, contains, regex and present is given
// (envoy.config.route.v3.QueryParameterMatcher).
type QueryMatch struct {
	// Exact is the whole value.
	Exact *string `policy:"exact"`
	// Prefix is how the value starts. Not empty.
	Prefix *string `policy:"prefix"`
	// Suffix is how the value ends. Not empty.
	Suffix *string `policy:"suffix"`
	// Contains is a part of the value. Not empty.
	Contains *string `policy:"contains"`
	// Regex is an RE2 expression that matches the whole value.
	Regex *string `policy:"regex"`
	// Present asks whether the parameter is there at all; false, whether it is not.
	Present *bool `policy:"present"`
	// IgnoreCase compares without regard to case. Only with exact, prefix,
	// suffix and contains.
	IgnoreCase bool `policy:"ignoreCase"`
}
