package xdsserver

import (
	"cmp"
	"slices"
	"time"
)

// Client is one connected stream as the server sees it.
type Client struct {
	// Node, Cluster and UserAgent are what the client says of itself in its
	// envoy.config.core.v3.Node; all may be empty. UserAgent is name/version.
	Node, Cluster, UserAgent string
	// Address is the client's network address.
	Address string
	// Delta tells the incremental protocol from state of the world.
	Delta bool
	// Since is when the stream began.
	Since time.Time
	// Types is what the client subscribes to.
	Types []Subscription
}

// Subscription is what a client wants of one type, and how it took what it was sent.
type Subscription struct {
	TypeURL string
	// Wildcard means all resources of the type.
	Wildcard bool
	// Names is how many names are subscribed one by one.
	Names int
	// Sent is the version of the newest response: its version_info, or
	// system_version_info in the incremental protocol. Empty before the first.
	Sent string
	// Accepted is the version of the newest response that the client accepted.
	Accepted string
	// Rejection is set while the client's latest word is a NACK.
	Rejection *Rejection
}

// Pending tells that the newest response was not answered yet.
func (s *Subscription) Pending() bool { return s.Sent != s.Accepted && s.Rejection == nil }

// Clients returns who is connected, the oldest stream first.
func (s *Server) Clients() []Client {
	s.mu.Lock()
	streams := make([]*stream, 0, len(s.streams))
	for st := range s.streams {
		streams = append(streams, st)
	}
	s.mu.Unlock()
	slices.SortFunc(streams, func(a, b *stream) int { return cmp.Compare(a.id, b.id) })
	clients := make([]Client, len(streams))
	for i, st := range streams {
		clients[i] = st.status()
	}
	return clients
}

func (st *stream) status() Client {
	st.mu.Lock()
	defer st.mu.Unlock()
	c := st.client
	c.Types = make([]Subscription, len(st.subs))
	for i, sub := range st.subs {
		c.Types[i] = Subscription{
			TypeURL:   sub.typeURL,
			Wildcard:  sub.wildcard,
			Names:     len(sub.names),
			Sent:      sub.ack.sentVersion,
			Accepted:  sub.ack.ackedVersion,
			Rejection: sub.ack.rejection,
		}
	}
	return c
}
