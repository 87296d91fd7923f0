package policy

import (
	"math/big"
	"regexp"
)

// The bounds of hash tables, as Envoy has them.
const (
	defaultMinimumRingSize = 1024
	maxRingSize            = 8 << 20
	maxTableSize           = 5000011
)

func (v *validator) hashBalance(p path, b *Balance) {
	for _, one := range []struct {
		name   string
		value  *uint32
		policy BalancePolicy
	}{{"minimumRingSize", b.MinimumRingSize, RingHash}, {"maximumRingSize", b.MaximumRingSize, RingHash}, {"tableSize", b.TableSize, Maglev}} {
		switch at := p.field(one.name); {
		case one.value == nil:
		case b.Policy != one.policy:
			v.nameErrorf(at, "%q is for the policy %s only", one.name, one.policy)
		case one.policy == Maglev && (*one.value > maxTableSize || !new(big.Int).SetUint64(uint64(*one.value)).ProbablyPrime(0)):
			v.errorf(at, "tableSize is %d: it must be a prime, and at most %d", *one.value, maxTableSize)
		case one.policy == RingHash && (*one.value == 0 || *one.value > maxRingSize):
			v.errorf(at, "%s is %d: it must be from 1 to %d", one.name, *one.value, maxRingSize)
		}
	}
	if b.HashBalanceFactor != nil {
		switch at := p.field("hashBalanceFactor"); {
		case b.Policy != RingHash && b.Policy != Maglev:
			v.nameErrorf(at, `"hashBalanceFactor" is for the policies ring_hash and maglev only`)
		case *b.HashBalanceFactor < 100:
			v.errorf(at, "hashBalanceFactor is %d: at least 100 percent", *b.HashBalanceFactor)
		}
	}
	if b.MaximumRingSize == nil {
		return
	}
	least := uint32(defaultMinimumRingSize)
	if b.MinimumRingSize != nil {
		least = *b.MinimumRingSize
	}
	if least > *b.MaximumRingSize && b.Policy == RingHash {
		v.errorf(p.field("maximumRingSize"), "maximumRingSize is %d, less than minimumRingSize, %d", *b.MaximumRingSize, least)
	}
}

func (v *validator) hash(p path, h *Hash) {
	var given []string
	if h.Header != "" {
		given = append(given, "header")
		if !httpToken.MatchString(h.Header) {
			v.errorf(p.field("header"), "%q is not the name of a header", shorten(h.Header))
		}
	}
	if h.Cookie != nil {
		given = append(given, "cookie")
		v.hashCookie(p.field("cookie"), h.Cookie)
	}
	if h.Query != "" {
		given = append(given, "query")
	}
	if h.Channel {
		given = append(given, "channel")
	}
	v.exactlyOne(p, given, "header, cookie, query and channel")
}

// cookiePath is what RFC 6265, section 4.1.1, lets stand as a path.
var cookiePath = regexp.MustCompile(`^/[!-:<-~]*$`)

func (v *validator) hashCookie(p path, c *HashCookie) {
	if !httpToken.MatchString(c.Name) && !v.incomplete[p] {
		v.errorf(p, "%q is not the name of a cookie", shorten(c.Name))
	}
	v.notNegative(p.field("ttl"), c.TTL)
	switch {
	case c.Path == "":
	case c.TTL == nil:
		v.nameErrorf(p.field("path"), `"path" is for a cookie that is generated: give a ttl`)
	case !cookiePath.MatchString(c.Path):
		v.errorf(p.field("path"), "%q is not a path of cookies", shorten(c.Path))
	}
}
