// Package weighted turns weights into a schedule: an endless, even sequence of
// indices in which each index appears exactly as often as its weight says.
//
// Endpoints within a locality, localities within a priority, priorities within a
// cluster and clusters within a route are all chosen by a [Schedule].
//
// # How it works
//
// Lay the weights end to end on a line of length W, their sum. The n-th choice is
// the weight that covers the point n·g mod W, where g is coprime to W. Multiplying
// by such a g permutes the points 0..W-1, so any W consecutive choices visit every
// point once: the proportions are exact over a window of W, whatever the weights.
// Taking g close to W divided by the golden ratio spreads consecutive points
// evenly over the line, so that the choices of one index are evenly spaced too
// (the three-gap theorem). Nothing of size W is stored: a table of about two
// entries per weight finds the weight under a point.
package weighted
