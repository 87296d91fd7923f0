package filter

import "context"

// Chain is filters in order, as one. Nil does nothing. It must not be changed once
// calls use it.
type Chain []Filter

// Request has the request pass the filters in order, until one ends the call. What
// follows the call passes on the rest of it in the reverse order.
func (c Chain) Request(ctx context.Context, r *Request) (Follower, error) {
	var one Follower
	var all *followers
	for _, f := range c {
		follower, err := f.Request(ctx, r)
		switch {
		case follower == nil:
		case one == nil:
			one = follower
		case all == nil:
			all = &followers{}
			all.list = append(all.few[:0], one, follower)
		default:
			all.list = append(all.list, follower)
		}
		if err != nil {
			return joined(one, all), err
		}
	}
	return joined(one, all), nil
}

func joined(one Follower, all *followers) Follower {
	if all == nil {
		return one
	}
	return all
}

// followers are those of one call, in the order of their filters.
type followers struct {
	list []Follower
	few  [4]Follower
}

func (f *followers) Response(ctx context.Context, r *Response) error {
	for i := len(f.list) - 1; i >= 0; i-- {
		if one, ok := f.list[i].(ResponseFollower); ok {
			if err := one.Response(ctx, r); err != nil {
				return err
			}
		}
	}
	return nil
}

func (f *followers) Trailer(r *Response) {
	for i := len(f.list) - 1; i >= 0; i-- {
		if one, ok := f.list[i].(TrailerFollower); ok {
			one.Trailer(r)
		}
	}
}

func (f *followers) End(o Outcome) {
	for i := len(f.list) - 1; i >= 0; i-- {
		f.list[i].End(o)
	}
}

// OfResponse returns f as one that sees the response's header, nil if it does not
// care: the header of a response costs something to have.
func OfResponse(f Follower) ResponseFollower {
	if all, ok := f.(*followers); ok {
		for _, one := range all.list {
			if OfResponse(one) != nil {
				return all
			}
		}
		return nil
	}
	one, _ := f.(ResponseFollower)
	return one
}

// OfTrailer returns f as one that sees the response's trailer, nil if it does not care.
func OfTrailer(f Follower) TrailerFollower {
	if all, ok := f.(*followers); ok {
		for _, one := range all.list {
			if OfTrailer(one) != nil {
				return all
			}
		}
		return nil
	}
	one, _ := f.(TrailerFollower)
	return one
}
