package call

import (
	"github.com/weft-mesh/weft/filter"
)

// Bodies reports whether filters of the call's route may want its request's body, and its
// response's.
func (c *Call) Bodies() (request, response bool) { return c.Change().Filters().Bodies() }

// RequestBody is the body that the call entered with and what the filters put in its
// place, which is the same if they left it alone.
func (c *Call) RequestBody() (given, made filter.Body) {
	if c.passed == nil {
		return nil, nil
	}
	return c.passed.body, c.passed.request.Body
}

// ShowBody has the filters see the body of the response, in the Response that comes next.
func (c *Call) ShowBody(b filter.Body) {
	if c.passed != nil {
		c.passed.shown = b
	}
}

// ResponseBody is for the response what RequestBody is for the request, after Response.
func (c *Call) ResponseBody() (given, made filter.Body) {
	if c.passed == nil {
		return nil, nil
	}
	return c.passed.shown, c.passed.response.Body
}

// Trailed says what came after the response's body, for filters that are still at that.
// It is what Trailer goes on with.
func (c *Call) Trailed(trailer filter.Header) {
	if p := c.passed; p != nil {
		p.response.Trailer, p.trailed = trailer, true
	}
}

// BodyFailed is the error of a call whose body a filter broke off with err, as Enter's is.
func (c *Call) BodyFailed(err error) error { return c.filtered(err) }
