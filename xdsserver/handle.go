package xdsserver

import (
	"slices"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/weft-mesh/weft/xdsserver/policy"
)

const (
	wildcard = "*"

	// nameOverhead is what a subscribed name costs beside its bytes.
	nameOverhead = 64
	// maxText is how much of a client's words is kept for status and log, in bytes.
	maxText = 1024
)

// handle takes one request. An error ends the stream.
func (st *stream) handle(raw []byte) error {
	parse := parseSotW
	if st.delta {
		parse = parseDelta
	}
	req, err := parse(raw)
	if err != nil {
		return status.Errorf(codes.InvalidArgument, "malformed request: %v", err)
	}
	switch {
	case req.typeURL == "":
		req.typeURL = st.typeURL
	case st.typeURL != "" && req.typeURL != st.typeURL:
		return status.Errorf(codes.InvalidArgument, "type_url is %q on a stream of %s", req.typeURL, st.typeURL)
	}
	if req.typeURL == "" {
		return status.Error(codes.InvalidArgument, "no type_url in a request on an aggregated stream")
	}
	if err := st.identify(req.node); err != nil {
		return err
	}
	sub := st.find(req.typeURL)
	first := sub == nil
	if first {
		if len(st.subs) == maxTypes {
			return status.Errorf(codes.ResourceExhausted, "more than %d resource types on one stream", maxTypes)
		}
		sub = &subscription{typeURL: req.typeURL, held: req.held}
	}
	if st.delta {
		st.acknowledge(sub, req)
		return st.handleDelta(sub, req, first)
	}
	return st.handleSotW(sub, req, first)
}

// identify reads the node of the stream's first request. Later ones may carry it
// again or not; the first is enough.
func (st *stream) identify(encoded []byte) error {
	if encoded == nil || st.identified {
		return nil
	}
	var node corev3.Node
	if err := (proto.UnmarshalOptions{DiscardUnknown: true}).Unmarshal(encoded, &node); err != nil {
		return status.Errorf(codes.InvalidArgument, "malformed node: %v", err)
	}
	st.identified = true
	st.envoy = node.GetUserAgentName() == "envoy"
	st.mu.Lock()
	defer st.mu.Unlock()
	st.client.Node = clip(node.GetId())
	st.client.Cluster = clip(node.GetCluster())
	st.client.UserAgent = clip(node.GetUserAgentName())
	if v := node.GetUserAgentVersion(); v != "" {
		st.client.UserAgent = clip(st.client.UserAgent + "/" + v)
	}
	return nil
}

// acknowledge notes the ACK or NACK that a request is, and logs a NACK once. It
// returns whether the request answered a response at all, and whether it was made
// before the client saw the newest response.
func (st *stream) acknowledge(sub *subscription, req *request) (answered, stale bool) {
	st.mu.Lock()
	defer st.mu.Unlock()
	var rejection *Rejection
	if req.nack != nil {
		rejection = &Rejection{Time: time.Now(), Version: sub.ack.sentVersion, Message: clip(req.nack.GetMessage())}
	}
	answered = sub.ack.answer(req.nonce, rejection)
	if answered && rejection != nil {
		st.server.log.Warn("client rejected a response", "node", st.client.Node, "address", st.client.Address,
			"type", sub.typeURL, "version", rejection.Version, "error", rejection.Message)
	}
	if sub.settled() && !sub.askedAll {
		sub.forgotten = nil // with askedAll the sender has yet to tell which of them are gone
	}
	if len(sub.leaving) > 0 {
		st.place.Nudge()
	}
	stale = sub.ack.sent != 0 && req.nonce != "" && !sub.ack.current(req.nonce)
	return answered, stale
}

// handleDelta changes a subscription by a delta request. What it asks for is
// answered whatever the client is believed to have: it may have dropped it
// (DeltaDiscoveryRequest.resource_names_subscribe). The first request of a type is
// different, since it says what the client has.
func (st *stream) handleDelta(sub *subscription, req *request, first bool) error {
	if !first && len(req.subscribe)+len(req.unsubscribe) == 0 {
		return nil // an ACK
	}
	subscribe, star := withoutWildcard(req.subscribe)
	unsubscribe, unstar := withoutWildcard(req.unsubscribe)
	c := change{first: first, wildcard: sub.wildcard}
	if first && len(req.subscribe) == 0 && isRoot(sub.typeURL) {
		c.wildcard = true // the legacy way to say "*"
	}
	c.wildcard = c.wildcard && !unstar || star

	for _, name := range subscribe {
		if _, had := slices.BinarySearch(sub.names, name); !had {
			c.add = append(c.add, name)
		}
	}
	for _, name := range unsubscribe {
		_, had := slices.BinarySearch(sub.names, name)
		if _, again := slices.BinarySearch(subscribe, name); had && !again {
			c.drop = append(c.drop, name)
		}
	}
	if !first {
		c.ask, c.askAll = subscribe, star
		if c.wildcard {
			// A name that is no longer asked for by itself is still wanted as one of
			// all, but the client may have dropped it.
			cur := st.server.store.Current().Table(sub.typeURL)
			for _, name := range c.drop {
				if cur.Get(name) != nil {
					c.ask = merge(c.ask, []string{name})
				}
			}
		}
	}
	return st.change(sub, c)
}

// handleSotW changes a subscription by a state-of-the-world request, which holds
// all that the client wants of the type.
//
// A request made before the client saw the newest response is not answered: the
// one that acknowledges that response says all of it again. What such a request
// no longer wants is taken away nevertheless. The client may have dropped it and
// want it back in the next request, which then has to be answered.
func (st *stream) handleSotW(sub *subscription, req *request, first bool) error {
	answered, stale := st.acknowledge(sub, req)
	same := !first && sub.digested && req.namesDigest == sub.digest
	rewarm := !stale && !(same && answered) && req.nack == nil && st.warms(sub)
	if same && !rewarm {
		return nil
	}
	sub.digest, sub.digested = req.namesDigest, !stale
	decoded, err := req.names()
	if err != nil {
		return status.Errorf(codes.InvalidArgument, "malformed request: %v", err)
	}
	sub.named = sub.named || len(decoded) > 0
	names, star := withoutWildcard(decoded)
	c := change{first: first, wildcard: star || !sub.named && isRoot(sub.typeURL)}
	c.add, c.drop = split(sub.names, names)
	c.ask, c.askAll = c.add, c.wildcard && !sub.wildcard
	switch {
	case stale:
		c = change{drop: c.drop, wildcard: c.wildcard && sub.wildcard}
	case rewarm:
		c.ask, c.askAll = names, c.wildcard
	}
	return st.change(sub, c)
}

// warms tells whether a request for endpoints comes from an Envoy that was sent
// clusters since its last one. An Envoy which speaks state of the world waits, for
// every cluster that changed, until it is sent the endpoints, even those it has
// ("Resource warming" of the xDS protocol).
func (st *stream) warms(sub *subscription) bool {
	if sub.typeURL != policy.EndpointType || !st.envoy {
		return false
	}
	st.mu.Lock()
	defer st.mu.Unlock()
	warms := st.rewarm
	st.rewarm = false
	return warms
}

// change is what a request changes in a subscription. The lists are sorted.
type change struct {
	first bool // the subscription is new

	add, drop []string // names that were not, and that were subscribed
	wildcard  bool     // as it is from now on

	ask    []string
	askAll bool
}

// change carries out a change, in the index and in the subscription. To the sender it
// is one step: between the two it would take the client to be told of what the index
// no longer reports. A new subscription is shown to the sender only together with what
// it wants, since its first answer is complete.
func (st *stream) change(sub *subscription, c change) error {
	if !c.first && len(c.add)+len(c.drop)+len(c.ask) == 0 && !c.askAll && c.wildcard == sub.wildcard {
		return nil
	}
	for _, name := range c.add {
		st.subscribed += len(name) + nameOverhead
	}
	for _, name := range c.drop {
		st.subscribed -= len(name) + nameOverhead
	}
	if limit := st.server.opts.MaxSubscriptionBytes; st.subscribed > limit {
		return status.Errorf(codes.ResourceExhausted, "the names subscribed on one stream take more than %d bytes", limit)
	}

	st.mu.Lock()
	defer st.mu.Unlock()
	st.place.Subscribe(sub.typeURL, c.add)
	st.place.Unsubscribe(sub.typeURL, c.drop)
	if c.wildcard != sub.wildcard {
		st.place.SetWildcard(sub.typeURL, c.wildcard)
	}
	if st.delta {
		sub.forget(c.drop)
		if sub.wildcard && !c.wildcard {
			sub.forget(merge(namesOf(sub.seen), sub.leaving))
		}
	}
	sub.wildcard = c.wildcard
	sub.names = merge(sub.names, c.add)
	if len(c.drop) > 0 {
		sub.names, _ = split(c.drop, sub.names)
	}
	sub.asked = sub.wanted(merge(sub.asked, c.ask))
	sub.askedAll = c.wildcard && (sub.askedAll || c.askAll)
	if c.first {
		st.add(sub)
	}
	st.place.Nudge()
	return nil
}

// withoutWildcard sorts names in place and takes "*" out.
func withoutWildcard(names []string) (rest []string, star bool) {
	names = sorted(names)
	i, found := slices.BinarySearch(names, wildcard)
	if found {
		names = slices.Delete(names, i, i+1)
	}
	return names, found
}

func clip(s string) string {
	if len(s) <= maxText {
		return s
	}
	return s[:maxText] + "..."
}
