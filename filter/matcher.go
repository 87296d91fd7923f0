package filter

import (
	"errors"

	"google.golang.org/protobuf/proto"
)

// Matcher says of a request whether something is for it. Its methods may be called from
// any number of goroutines.
type Matcher interface {
	// Matches reports whether it matches. It does not change the request.
	Matches(r *Request) bool
}

// MatcherOf returns the kind of an extension that is no filter but a matcher: a
// custom_match of xds.type.matcher.v3.Matcher, which the composite filter goes by (gRFC
// A106). C is as in [Of].
func MatcherOf[C any](typeURL string, build func(C) (Matcher, error)) Kind {
	return matcherOf[C]{typeURL, build}
}

type matcherOf[C any] struct {
	typeURL string
	build   func(C) (Matcher, error)
}

func (k matcherOf[C]) Types() []string { return []string{k.typeURL} }

func (k matcherOf[C]) Parse(c *Config) (any, error) {
	v, err := decode[C](c)
	if err != nil {
		return nil, err
	}
	return k.build(v)
}

func (k matcherOf[C]) New(any, []any) (Filter, error) {
	return nil, errors.New(k.typeURL + " is a matcher, not a filter")
}

// decode reads a configuration into a new C.
func decode[C any](c *Config) (v C, err error) {
	m, ok := any(v).(proto.Message)
	if !ok {
		err = c.Decode(&v)
		return v, err
	}
	m = m.ProtoReflect().New().Interface()
	err = c.Decode(m)
	return m.(C), err
}
