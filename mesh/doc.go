// Package mesh is the door to Weft: gRPC and net/http clients whose calls are
// discovered, routed and balanced by policy, in the process, and servers whose calls
// pass the filters of policy.
//
// A program makes one [Mesh] and takes its clients from it:
//
//	m, err := mesh.New()                    // the gRPC bootstrap of the environment
//	conn, err := m.Dial("orders")           // in place of grpc.NewClient
//	resp, err := m.HTTPClient().Get("http://orders/cart/7")
//
// or, where the environment says everything, uses [Dial] and [HTTPClient] of the
// process-wide [Default] mesh.
//
// # Where policy comes from
//
// One source, never two: an xDS control plane, named by a bootstrap
// (GRPC_XDS_BOOTSTRAP, GRPC_XDS_BOOTSTRAP_CONFIG, [WithBootstrap],
// [WithBootstrapFile]) or by its address ([WithServer]); or a policy file that the
// program reads itself ([WithPolicyFile], [WithPolicy]). The same compiler and the
// same tables stand behind all of them.
//
// # How a call finds its way
//
// The target that a call names ("orders", "orders:8080", "xds:///orders",
// "http://orders/") is the name of a listener. Its routes choose a cluster, the
// cluster's balancing policy an endpoint. The first call of a target waits for its
// policy, bounded by the call's own context; later ones load one pointer.
//
// With weft.route_config_name_template in the bootstrap, a target is found as a
// sidecar finds it: the virtual host of its name in the route configuration of its
// port. Istio then needs no more than its sidecar configuration, and, where it asks
// for mTLS, certificate_providers of the bootstrap that go by the names of its
// secrets: "default" for the process's certificate, "ROOTCA" for the roots.
//
// # Servers
//
// [Mesh.ServerOptions] and [Mesh.Handler] have a server go by a listener of its own:
//
//	s := grpc.NewServer(m.ServerOptions("orders")...)
//	http.ListenAndServe(":8080", m.Handler("orders", mux))
//
// The listener's routes say which filters a call passes. No call is served without what
// policy asks: calls wait for the first policy within their context, and are refused
// where the listener does not exist or asks for what this version cannot do, as for TLS;
// the log then says why, and the caller just that. A program that has no policy for its
// servers leaves them as they are.
//
// # Mirroring
//
// Where policy mirrors a route, a copy of a call goes to a further cluster, once, with
// its headers and credentials, and nobody sees the answer. A gRPC message is encoded for
// it before the call is sent; messages of a stream follow as they are sent. A body that
// can be had again (http.Request.GetBody) is copied at once, another one while it is
// sent, and the copy goes out when it is complete. A mesh has at most 256 copies under
// way, in 16 MiB, of 1 MiB each; what is beyond that, or cannot keep up, is dropped, and
// the log counts it. Copies are bounded by their route's timeout, or 15 s, and end with
// the mesh.
//
// # Hosts that policy does not know
//
// An HTTP request to a host that policy does not know fails with [ErrNoRoute], or goes
// where its URL says, without a proxy, if policy says passthrough: in the policy file,
// or by an ORIGINAL_DST cluster, such as Istio's for such hosts. A gRPC call that is
// routed to such a cluster goes to the address that its channel was dialled with, by
// port 443 if that has none; if policy has calls say their address in a header, one
// that does is refused.
//
// # What a call sees when things change
//
// Policy is swapped whole, and only when the endpoints it needs have arrived. An
// endpoint that goes away finishes the calls it has. A connection that cannot be
// made is not a failed call while another endpoint accepts one: gRPC picks among
// established connections, and an HTTP request whose connection failed before a
// byte was sent goes to the next endpoint. A control plane that dies changes
// nothing for the targets in use.
//
// # What a call sees when attempts fail
//
// Nothing that may have reached a server is sent again unless policy says so, or net/http
// would send it again: an idempotent request that met an HTTP/1.1 connection which the server was
// about to close, because it had been idle, goes over another connection. Where policy
// does (retry and hedge of a route), the attempts of a call are one call to the
// application: one reply, header, trailer and peer, those of the attempt that decided. A call
// that is over a limit of its cluster fails at once with [ErrOverloaded]; over that of
// connections, an HTTP/1.1 request waits first. A call that a filter refuses is answered:
// under HTTP by a response (package filter). The table of what
// happens when retries, hedges, deadlines and limits meet is package resilience's.
//
// # What goes on inside
//
// [Mesh.DebugHandler] shows targets, limits in use, breakers, endpoints and what is wrong
// with policy.
//
// # Security
//
// Policy decides, cluster by cluster, whether a connection is TLS. Where policy asks
// for TLS that cannot be had, the call fails; it is never sent in plaintext. A
// grpc.WithTransportCredentials given to Dial is overridden, because a dial option
// cannot be read back; see [WithCredentials].
package mesh
