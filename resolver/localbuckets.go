package resolver

import (
	"cmp"
	"slices"
	"strconv"
	"time"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	lru "github.com/hashicorp/golang-lru/v2"

	"github.com/weft-mesh/weft/resilience"
)

// localBuckets are the buckets of a local limit: one for all requests, and one for each
// descriptor. It is safe for concurrent use.
type localBuckets struct {
	forAll *localBucket // nil if requests without a descriptor are not limited
	always bool         // it counts beside those of descriptors
	fixed  map[string]*localBucket
	wild   []*wildBuckets
}

// localBucket is a bucket. One that is a shadow is emptied and refuses nothing.
type localBucket struct {
	*resilience.Bucket
	shadow bool
}

// wildBuckets are the buckets of a descriptor with values left open, one for each that
// requests have for them: at most as many as policy says, the least used of which make
// room for others.
type wildBuckets struct {
	entries []limitEntry
	config  localDescriptor
	made    *lru.Cache[string, *localBucket]
}

// localDescriptor is a descriptor of policy with its bucket
// (envoy.extensions.common.ratelimit.v3.LocalRateLimitDescriptor).
type localDescriptor struct {
	entries []limitEntry
	bucket  resilience.BucketConfig
	shadow  bool
}

func (d *localDescriptor) make(now time.Duration) *localBucket {
	return &localBucket{resilience.NewBucket(d.bucket, now), d.shadow}
}

// wild reports whether values are left open.
func (d *localDescriptor) wild() bool {
	return slices.ContainsFunc(d.entries, func(e limitEntry) bool { return e.value == "" })
}

// key tells descriptors apart.
func key(to []byte, entries []limitEntry) []byte {
	for _, e := range entries {
		to = append(strconv.AppendInt(to, int64(len(e.key)), 10), ' ')
		to = append(strconv.AppendInt(append(to, e.key...), int64(len(e.value)), 10), ' ')
		to = append(to, e.value...)
	}
	return to
}

func newLocalBuckets(c *localLimitConfig, now time.Duration) *localBuckets {
	b := &localBuckets{always: c.always, fixed: make(map[string]*localBucket)}
	if c.forAll != nil {
		b.forAll = &localBucket{Bucket: resilience.NewBucket(*c.forAll, now)}
	}
	for i := range c.descriptors {
		d := &c.descriptors[i]
		if !d.wild() {
			b.fixed[string(key(nil, d.entries))] = d.make(now)
			continue
		}
		made, _ := lru.New[string, *localBucket](c.maxDynamic) // fails for sizes below 1
		b.wild = append(b.wild, &wildBuckets{entries: d.entries, config: *d, made: made})
	}
	return b
}

// bucketOf returns the bucket of a request's descriptor; nil if there is none.
func (b *localBuckets) bucketOf(d *limitDescriptor, now time.Duration) *localBucket {
	var few [128]byte
	k := key(few[:0], d.entries)
	if one := b.fixed[string(k)]; one != nil {
		return one
	}
	for _, w := range b.wild {
		if w.matches(d.entries) {
			return w.bucketOf(string(k), now)
		}
	}
	return nil
}

func (w *wildBuckets) matches(entries []limitEntry) bool {
	return slices.EqualFunc(w.entries, entries, func(want, got limitEntry) bool {
		return want.key == got.key && (want.value == "" || want.value == got.value)
	})
}

func (w *wildBuckets) bucketOf(key string, now time.Duration) *localBucket {
	if one, ok := w.made.Get(key); ok {
		return one
	}
	one := w.config.make(now)
	if other, ok, _ := w.made.PeekOrAdd(key, one); ok {
		return other
	}
	return one
}

// localVerdict is what the buckets say of a request.
type localVerdict struct {
	allowed bool
	bucket  *localBucket // that refused it, or that it is told of; nil for none
	headers routev3.RateLimit_XRateLimitOption
}

// takeOne takes a token for a request without descriptors.
func (b *localBuckets) takeOne(now time.Duration) localVerdict {
	if b.forAll == nil {
		return localVerdict{allowed: true}
	}
	if b.forAll.Config().Max == 0 {
		return localVerdict{} // there is nothing to tell of it
	}
	return localVerdict{allowed: b.forAll.Take(1, now), bucket: b.forAll}
}

// take takes a request's tokens: of the buckets of its descriptors, the one that fills the
// slowest first, and then of the one for all. The first that has none left refuses the
// request, and those after it keep theirs, as in Envoy.
func (b *localBuckets) take(list []limitDescriptor, now time.Duration) localVerdict {
	type match struct {
		bucket *localBucket
		of     *limitDescriptor
	}
	var few [8]match
	matched := few[:0]
	for i := range list {
		if one := b.bucketOf(&list[i], now); one != nil {
			matched = append(matched, match{one, &list[i]})
		}
	}
	if len(matched) == 0 {
		return b.takeOne(now)
	}
	slices.SortStableFunc(matched, func(x, y match) int {
		return cmp.Compare(x.bucket.Config().Rate(), y.bucket.Config().Rate())
	})
	for _, m := range matched {
		hits := uint64(1)
		if m.of.counted {
			hits = m.of.hits
		}
		if m.of.refunds && m.of.counted {
			m.bucket.Return(hits, now)
		} else if !m.bucket.Take(hits, now) && !m.bucket.shadow {
			return localVerdict{bucket: m.bucket, headers: m.of.xHeaders}
		}
	}
	if b.always {
		if v := b.takeOne(now); !v.allowed {
			return v
		}
	}
	return localVerdict{allowed: true, bucket: matched[0].bucket, headers: matched[0].of.xHeaders}
}
