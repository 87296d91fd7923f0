package filter

// Request is a call's request, of either protocol, on its way out of a client or into a
// server. What a filter writes to Header and the fields below it takes effect; the others
// say what is. On servers, the Path of a gRPC call does not change which method is called,
// and Override has no meaning.
type Request struct {
	// Header is the request's header: HTTP's, without Host, or gRPC's metadata.
	Header Header
	// Authority is the host that the call names, with its port if it has one (HTTP's
	// Host, gRPC's :authority).
	Authority string
	// Path is the path without the query, as it goes on the wire; for gRPC
	// "/package.Service/Method".
	Path string
	// RawQuery is the query without the question mark. gRPC has none.
	RawQuery string
	// Override is the endpoint that the call is to go to, if it can; the zero value
	// leaves it to the cluster's balancing.
	Override Host
	// Body is the body, where a filter of the call is a [BodyFilter] that wants it and there
	// is one. A gRPC stream's messages come only when the filters have passed the request:
	// Request must not wait for them.
	Body Body

	// Method is the HTTP method; "POST" for gRPC.
	Method string
	// Scheme is "http" or "https".
	Scheme string
	// Protocol is what %PROTOCOL% stands for: "HTTP/1.1", "HTTP/2".
	Protocol string
	// GRPC says that the call is a gRPC call and not an HTTP request.
	GRPC bool

	// Server says that the request came in to a server, else it goes out of a client.
	Server bool
	// Peer is who sent it to the server, "ip:port"; empty on clients.
	Peer string

	// Target is what the caller named, without scheme: "orders:8080". On servers it is
	// the listener that the program named.
	Target string
	// Route and VirtualHost are the names that policy gives them; they may be empty.
	Route, VirtualHost string
	// Cluster is the name of the cluster that the call goes to; empty if the route
	// answers it, and on servers.
	Cluster string
}

// Host is an endpoint that a filter chooses (gRFC A55).
type Host struct {
	// Address is the endpoint's "ip:port"; several are separated by commas, the first
	// that the cluster has is meant. Empty means none.
	Address string
	// Strict fails a call that cannot go there.
	Strict bool
	// Missing is the HTTP status of the answer to a strict call whose endpoint is not in
	// the cluster. Zero leaves it to the protocol how such a call fails.
	Missing int
	// Cluster is the name of the cluster to go to, if the call's route has it among its
	// weighted clusters (gRFC A60). Empty leaves it to the route.
	Cluster string
}

// Response is what comes back for a request.
type Response struct {
	// Request is the request as it was sent, with what the route changed of it, as in
	// Envoy; or as the filters left it, if it was not sent. It is to be read only.
	Request *Request
	// Header is the response's header.
	Header Header
	// Trailer is what came after the body; empty before.
	Trailer Header
	// Body is the body, as in [Request]; nil if there is none or no filter wants it. What
	// comes after it is in Trailer once it has ended.
	Body Body
	// Status is the HTTP status; for gRPC 200.
	Status int
	// Endpoint is the "ip:port" of the endpoint that answered; empty for an answer
	// that policy or a filter gave.
	Endpoint string
	// Cluster is the name of the cluster that it is of; empty without one.
	Cluster string
	// Err, set by a [TrailerFollower], is what a gRPC call ends with in place of its own
	// status, as an error of Request is. It has no effect on HTTP, whose caller has the
	// response by then.
	Err error
}
