package xds

import (
	"cmp"
	"slices"
	"time"
)

// ServerStatus is how things stand with one server.
type ServerStatus struct {
	// URI is the server's.
	URI string
	// Protocol is the form of ADS in use, or to be tried next.
	Protocol Protocol
	// Connected says that there is an ADS stream.
	Connected bool
	// Since is when Connected last changed, or when the server was first needed.
	Since time.Time
	// LastError is the error that ended the last stream, or kept it from being
	// opened. It stays when there is a new stream; nil if there was never one.
	LastError   error
	LastErrorAt time.Time
}

// ServerStatus tells how things stand with each server that was needed so far, in
// the order in which they were.
func (c *Client) ServerStatus() []ServerStatus {
	c.mu.Lock()
	defer c.mu.Unlock()
	all := make([]ServerStatus, 0, len(c.order))
	for _, s := range c.order {
		all = append(all, ServerStatus{
			URI: s.config.URI, Protocol: s.dialect.protocol(),
			Connected: s.connected, Since: s.since,
			LastError: s.lastErr, LastErrorAt: s.lastErrAt,
		})
	}
	return all
}

// ResourceState is where a resource stands, as in
// envoy.service.status.v3.ClientResourceStatus.
type ResourceState int

// The states of a resource.
const (
	// ResourceRequested: it was asked for, or will be, and did not come yet.
	ResourceRequested ResourceState = iota
	// ResourceDoesNotExist: the server has no such resource, or has removed it.
	ResourceDoesNotExist
	// ResourceAcked: the newest version was accepted.
	ResourceAcked
	// ResourceNacked: the newest version was bad.
	ResourceNacked
	// ResourceReceivedError: the server sent an error in place of it.
	ResourceReceivedError
	// ResourceTimedOut: the server did not answer in time
	// ([ServerConfig.ResourceTimerIsTransientFailure]).
	ResourceTimedOut
)

func (s ResourceState) String() string {
	names := [...]string{"requested", "does not exist", "acked", "nacked", "received error", "timed out"}
	if s < 0 || int(s) >= len(names) {
		return "unknown"
	}
	return names[s]
}

// ResourceStatus is how things stand with one resource that is watched.
type ResourceStatus struct {
	// TypeURL and Name identify the resource; Server is the URI of its server.
	TypeURL, Name, Server string
	// State is about the newest that the server said.
	State ResourceState
	// ChangedAt is when the server last said something about the resource, or when
	// it was first watched.
	ChangedAt time.Time
	// Held says that there is a value in use: whatever State is, the last good one.
	Held bool
	// Version is that of the value in use; may be empty even if there is one.
	Version string
	// LastError is the last thing that was wrong with the resource, at ErrorAt. It
	// stays when the resource is good again; nil if there was never anything.
	LastError error
	ErrorAt   time.Time
}

// ResourceStatus tells how things stand with each watched resource, sorted by
// type, name and server.
func (c *Client) ResourceStatus() []ResourceStatus {
	c.mu.Lock()
	defer c.mu.Unlock()
	var all []ResourceStatus
	for _, s := range c.order {
		for url, sub := range s.subs {
			for name, e := range sub.entries {
				if len(e.watches) == 0 {
					continue
				}
				r := ResourceStatus{
					TypeURL: url, Name: name, Server: s.config.URI,
					State: e.state, ChangedAt: e.changedAt,
					LastError: e.lastErr, ErrorAt: e.erredAt,
				}
				if e.held != nil {
					r.Held, r.Version = true, e.held.Version
				}
				all = append(all, r)
			}
		}
	}
	slices.SortFunc(all, func(a, b ResourceStatus) int {
		return cmp.Or(cmp.Compare(a.TypeURL, b.TypeURL), cmp.Compare(a.Name, b.Name), cmp.Compare(a.Server, b.Server))
	})
	return all
}
