package policy

// Balance says how a call picks one of a service's endpoints.
type Balance struct {
	// Policy is the way to pick. Empty means round_robin. random and maglev fall back
	// to round_robin in stock gRPC clients, and pick_first in Envoy. ring_hash and
	// maglev go by the hash of the route; calls without one go anywhere.
	Policy BalancePolicy `policy:"policy"`

	// ChoiceCount is how many random endpoints least_request compares, 2 or
	// more. Not given means 2.
	ChoiceCount *uint32 `policy:"choiceCount"`

	// MinimumRingSize is how many points the ring of ring_hash has at least: the more,
	// the more even the shares. 1 to 8388608. Not given means 1024.
	MinimumRingSize *uint32 `policy:"minimumRingSize"`

	// MaximumRingSize is how many points the ring of ring_hash has at most. Not less
	// than minimumRingSize. Not given means 8388608.
	MaximumRingSize *uint32 `policy:"maximumRingSize"`

	// TableSize is how many slots the table of maglev has, a prime of at most
	// 5000011. Not given means 65537.
	TableSize *uint32 `policy:"tableSize"`

	// HashBalanceFactor bounds what an endpoint has in flight under ring_hash and maglev,
	// in percent of its share of what this client has in flight to the service, 100 or
	// more: the keys of an endpoint that has more go to others for that long. Not given,
	// there is no bound. Stock gRPC clients have none.
	HashBalanceFactor *uint32 `policy:"hashBalanceFactor"`

	// LocalityWeights share the load between localities: each is named
	// region/zone/subZone, without the empty parts at its end, and gets its weight's part of
	// the calls, however many endpoints it has. All localities of the service
	// must be named. Not given, a locality's share is the sum of its endpoints'
	// weights. Not with pick_first, nor with discover.
	LocalityWeights map[string]uint32 `policy:"localityWeights"`

	// ZoneAware keeps calls in their caller's zone, as far as that is fair to the
	// endpoints there. For round_robin, least_request and random; not with
	// localityWeights.
	ZoneAware *ZoneAware `policy:"zoneAware"`
}

// BalancePolicy is a load balancing policy.
type BalancePolicy string

// The policies.
const (
	RoundRobin   BalancePolicy = "round_robin"
	Random       BalancePolicy = "random"
	LeastRequest BalancePolicy = "least_request"
	PickFirst    BalancePolicy = "pick_first"
	RingHash     BalancePolicy = "ring_hash"
	Maglev       BalancePolicy = "maglev"
)

func (BalancePolicy) values() []string {
	return []string{string(RoundRobin), string(LeastRequest), string(Random), string(PickFirst), string(RingHash), string(Maglev)}
}

// Limits bound what one client has in flight to a service, at default priority
// (envoy.config.cluster.v3.CircuitBreakers). What is above a limit fails at once.
type Limits struct {
	// MaxConnections is how many connections there may be. Not given means 1024.
	MaxConnections *uint32 `policy:"maxConnections"`
	// MaxPendingRequests is how many calls may wait for a connection. Not given
	// means 1024.
	MaxPendingRequests *uint32 `policy:"maxPendingRequests"`
	// MaxRequests is how many calls may be in flight. Not given means 1024.
	// gRPC clients know this limit only (gRFC A32).
	MaxRequests *uint32 `policy:"maxRequests"`
	// MaxRetries is how many retries may be in flight. Not given means 3.
	MaxRetries *uint32 `policy:"maxRetries"`
}
