package policy

import "time"

// RateLimit bounds how many calls are made, or served, in a time: by buckets of tokens
// that each process has of its own
// (envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit), and by a service that
// counts for all (envoy.extensions.filters.http.ratelimit.v3.RateLimit). Calls over a
// limit are answered with the status. Clients that know no rate limits make all calls.
type RateLimit struct {
	// TokenBucket is the bucket that all calls take a token of. Not given, only those
	// with a descriptor are limited.
	TokenBucket *TokenBucket `policy:"tokenBucket"`
	// Descriptors are further buckets, for the calls that they describe.
	Descriptors []*RateLimitDescriptor `policy:"descriptors"`
	// MaxDynamicDescriptors is how many buckets a descriptor has at most that has one for
	// each value; the least used make room. Not given means 20.
	MaxDynamicDescriptors *uint32 `policy:"maxDynamicDescriptors"`
	// PerConnection has each connection to a server have buckets of its own
	// (local_rate_limit_per_downstream_connection).
	PerConnection bool `policy:"perConnection"`

	// Service is asked about each call that one of its descriptors describes. Only for
	// services: routes can be without.
	Service *RateLimitService `policy:"service"`

	// Status is the HTTP status of calls over the limit, 400 to 599. Not given means 429.
	Status *uint32 `policy:"status"`
	// RateLimitedAsResourceExhausted has gRPC calls over the limit end with
	// RESOURCE_EXHAUSTED, in place of the UNAVAILABLE that stands for 429.
	RateLimitedAsResourceExhausted bool `policy:"rateLimitedAsResourceExhausted"`
	// EnableXRatelimitHeaders has responses tell of the limit, in the headers
	// x-ratelimit-limit, x-ratelimit-remaining and x-ratelimit-reset.
	EnableXRatelimitHeaders bool `policy:"enableXRatelimitHeaders"`

	// Disabled, of a route, does not limit its calls though the service does.
	Disabled bool `policy:"disabled"`
}

// TokenBucket is how many calls pass (envoy.type.v3.TokenBucket).
type TokenBucket struct {
	// MaxTokens is how many tokens there are at most, and at first: calls that may come
	// at once. 0 lets none pass.
	MaxTokens uint32 `policy:"maxTokens,required"`
	// TokensPerFill is how many tokens come in each fillInterval, evenly; 1 or more. Not
	// given means 1.
	TokensPerFill *uint32 `policy:"tokensPerFill"`
	// FillInterval is the time in which they come, at least 50ms.
	FillInterval time.Duration `policy:"fillInterval,required"`
}

// RateLimitDescriptor describes calls: those that have all of its entries.
type RateLimitDescriptor struct {
	// Entries are what is asked of a call, in order. At least one.
	Entries []*RateLimitEntry `policy:"entries,required"`
	// TokenBucket is the bucket of the calls. Not for those of a service, which has its
	// own.
	TokenBucket *TokenBucket `policy:"tokenBucket"`
}

// RateLimitEntry is one thing about a call: exactly one of header, genericKey and
// remoteAddress is given (envoy.config.route.v3.RateLimit.Action).
type RateLimitEntry struct {
	// Header is the name of a header that the call must have.
	Header string `policy:"header"`
	// GenericKey is a value that all calls have.
	GenericKey string `policy:"genericKey"`
	// RemoteAddress is the address of who calls a server. Clients' calls have none.
	RemoteAddress bool `policy:"remoteAddress"`

	// Key is what a service knows the entry by. Not given, it is the header's name in
	// lower case, generic_key or remote_address.
	Key string `policy:"key"`
	// Value is the one that the header or the address must have, of descriptors with a
	// bucket. Not given, there is a bucket for each value.
	Value string `policy:"value"`
}

// RateLimitService is a service that knows the limits
// (envoy.service.ratelimit.v3.RateLimitService).
type RateLimitService struct {
	// Target is where it is, as gRPC names it: dns:///limits.internal:8081. It is asked
	// in plaintext: for anything else, write the filter itself.
	Target string `policy:"target,required"`
	// Domain is the set of limits that it goes by.
	Domain string `policy:"domain,required"`
	// Descriptors describe the calls that it is asked about.
	Descriptors []*RateLimitDescriptor `policy:"descriptors,required"`
	// FailureMode is what becomes of calls that the service does not answer about in
	// time: deny, which fails them, or allow, which lets them pass without a limit. It
	// has to be said.
	FailureMode FailureMode `policy:"failureMode,required"`
	// Timeout is how long a call waits for the answer. Not given means 20ms.
	Timeout *time.Duration `policy:"timeout"`
}

// FailureMode is what becomes of calls when what decides on them cannot be asked.
type FailureMode string

// The failure modes.
const (
	FailureAllow FailureMode = "allow"
	FailureDeny  FailureMode = "deny"
)

func (FailureMode) values() []string { return []string{string(FailureAllow), string(FailureDeny)} }
