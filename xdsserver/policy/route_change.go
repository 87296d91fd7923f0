package policy

// Headers are changes of headers, after the route was chosen. Host and headers that
// begin with a colon cannot be changed; see rewrite. gRPC calls keep headers that are
// gRPC's own, and binary ones.
type Headers struct {
	// Request is for what is sent to the backend.
	Request *HeaderChanges `policy:"request"`
	// Response is for what the application gets: the response's header, not its
	// trailer.
	Response *HeaderChanges `policy:"response"`
}

// HeaderChanges change headers by name: first those of remove, then of set, then of
// append and add. In a value %REQ(x)% is the header x that the application sent, and
// %PROTOCOL%, %ROUTE_NAME% and %UPSTREAM_CLUSTER% say what their names say; in
// responses also %RESP(x)% and %RESPONSE_CODE%. A percent sign is written %%. A value
// that comes out empty changes nothing.
type HeaderChanges struct {
	// Add gives a header a value if it has none.
	Add map[string]string `policy:"add"`
	// Set gives a header this one value.
	Set map[string]string `policy:"set"`
	// Append gives a header a further value.
	Append map[string]string `policy:"append"`
	// Remove removes headers.
	Remove []string `policy:"remove"`
}

// Rewrite changes what the backend is asked for. Stock gRPC clients change none of
// the path, and the host only if they trust the server that they have the policy from
// (gRFC A111).
type Rewrite struct {
	// Prefix takes the place of the part of the path that the route's match gives as
	// prefix, separatedPrefix or exact; with another match, of the whole path.
	Prefix string `policy:"prefix"`
	// Regex replaces parts of the path. Not beside prefix.
	Regex *RegexRewrite `policy:"regex"`
	// Template is a path made of the variables of the route's match, which must be a
	// template, such as /{country}/users/{id}
	// (envoy.extensions.path.rewrite.uri_template.v3). Not beside prefix or regex.
	Template string `policy:"template"`
	// Host is the host to name: HTTP's Host header, gRPC's authority.
	Host string `policy:"host"`
	// EndpointHost names the endpoint's hostname, if it has one, as the host. Not
	// beside host.
	EndpointHost bool `policy:"endpointHost"`
}

// RegexRewrite replaces every match of a pattern in the path, without the query.
type RegexRewrite struct {
	// Pattern is an RE2 expression. It may match a part of the path.
	Pattern string `policy:"pattern,required"`
	// Substitution is put in its place; \1 is what the first group matched, \0 all
	// of the match, and \\ a backslash.
	Substitution string `policy:"substitution"`
}

// Redirect answers HTTP requests with another URL, which is the request's but for
// what is given. gRPC calls fail.
type Redirect struct {
	// Scheme is http or https.
	Scheme RedirectScheme `policy:"scheme"`
	// Host is the other host, without a port.
	Host string `policy:"host"`
	// Port is the other port.
	Port uint32 `policy:"port"`
	// Path is the other path; with a query, that takes the place of the request's.
	Path string `policy:"path"`
	// Prefix takes the place of what the route's match gives, as in rewrite. Not
	// beside path or regex.
	Prefix string `policy:"prefix"`
	// Regex replaces parts of the path, as in rewrite. Not beside path.
	Regex *RegexRewrite `policy:"regex"`
	// StripQuery leaves out the request's query.
	StripQuery bool `policy:"stripQuery"`
	// Status is 301, 302, 303, 307 or 308. Not given, 301.
	Status uint32 `policy:"status"`
}

// RedirectScheme is the scheme of a URL.
type RedirectScheme string

func (RedirectScheme) values() []string { return []string{"http", "https"} }

// Respond answers calls without a backend.
type Respond struct {
	// Status is the HTTP status, from 200 to 599. gRPC calls end with the gRPC status
	// that stands for it in
	// https://github.com/grpc/grpc/blob/master/doc/http-grpc-status-mapping.md.
	Status uint32 `policy:"status,required"`
	// Body is the response's body, and the message of a gRPC status. At most 4096
	// bytes.
	Body string `policy:"body"`
}
