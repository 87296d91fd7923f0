package filter

import "time"

// PacedFollower is a [Follower] that has the body of the response go no faster than it
// says: HTTP's in pieces, gRPC's by whole messages.
type PacedFollower interface {
	Follower
	// Piece is how many bytes are to go at a time, at least 1.
	Piece() int
	// Pace is told of bytes of the body that are there to go to the caller, and returns how
	// long they are to be held back; zero is not at all. Of a gRPC message it gets the
	// length on the wire, uncompressed. Messages that are not protobuf have none that is
	// known, and go as they come.
	Pace(bytes int) time.Duration
}

// OfPace returns f as one that holds the response back, nil if it does not.
func OfPace(f Follower) PacedFollower {
	if all, ok := f.(*followers); ok {
		var paced pacedFollowers
		for _, one := range all.list {
			if p := OfPace(one); p != nil {
				paced.list = append(paced.list, p)
			}
		}
		switch len(paced.list) {
		case 0:
			return nil
		case 1:
			return paced.list[0]
		}
		return &paced
	}
	p, _ := f.(PacedFollower)
	return p
}

// pacedFollowers are several paces that hold for one response: the slowest decides.
type pacedFollowers struct{ list []PacedFollower }

func (f *pacedFollowers) End(Outcome) {} // they are told by the chain

func (f *pacedFollowers) Piece() int {
	least := f.list[0].Piece()
	for _, one := range f.list[1:] {
		least = min(least, one.Piece())
	}
	return least
}

func (f *pacedFollowers) Pace(bytes int) time.Duration {
	var longest time.Duration
	for _, one := range f.list {
		longest = max(longest, one.Pace(bytes))
	}
	return longest
}
