// Package xds is the xDS client on the wire: it subscribes to resources by name
// at one or more control planes and tells watchers what became of them. It knows
// nothing of channels, tables or calls, and has no opinion on what a resource
// means: a [ResourceType] brings the function that decodes it.
//
// Three types carry it:
//
//   - [Config] says who we are, which servers there are, which types exist and
//     how to reach a server ([TransportBuilder]).
//   - [Client] keeps one ADS stream for each distinct server, however many
//     resources are watched, and the cache of what was accepted.
//   - [Watcher] is told about one resource, by the rules of gRFC A88.
//
// # The way of a resource
//
// [Client.Watch] notes the interest and returns. The stream's sending goroutine
// turns all interest that changed since its last request into the next one. A
// response is read by the stream's receiving goroutine: resources whose bytes are
// those already held are left alone, the others are decoded one by one, each good
// one is put in the cache and each bad one is named in the NACK (gRFC A46). Then
// the client's one delivering goroutine calls the watchers, and only when it has
// called them all is the next response read: a watcher that is slow slows the
// control plane, it does not fill memory.
//
// # Delta and state of the world
//
// A stream speaks incremental ("delta") xDS. A server that answers UNIMPLEMENTED
// is asked for the state of the world (SotW) instead, and that choice is kept for
// later streams; [ServerConfig] can pin either. Both subscribe by name: the
// wildcard is never used, and no request of a type is ever sent before there is
// a name to ask for, because a server would take an empty one for a wildcard.
//
// # What stays when something goes wrong
//
// An accepted resource is kept until nobody watches it. A lost connection, a bad
// update and a deletion are reported as [Watcher.AmbientError] and change
// nothing, except that data errors drop the resource where the bootstrap says
// fail_on_data_errors (gRFC A88). A resource with a time to live is dropped when
// that ends without a heartbeat, connected or not: that is what it is for.
//
// gRFC A71, falling back to the next server of a list, is not implemented: the
// first server of a list is used.
package xds
