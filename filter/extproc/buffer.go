package extproc

import (
	"errors"
	"io"
	"net/http"

	servicev3 "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"
	"google.golang.org/grpc/codes"

	"github.com/weft-mesh/weft/filter"
)

// buffer has the server see a body at once, or its beginning, and returns it as it goes on.
// The header is still to go, and may be changed with the body.
func (c *processing) buffer(d *direction, source filter.Body, h *filter.Header) (filter.Body, error) {
	data, whole, err := c.gather(d, source)
	if err != nil {
		return nil, err
	}
	answer, err := c.stream.ask(d, d.event(&servicev3.HttpBody{Body: data, EndOfStream: whole}), bodyEvent)
	if err != nil {
		return nil, err
	}
	common := answer.GetRequestBody().GetResponse()
	if d == &c.stream.response {
		common = answer.GetResponseBody().GetResponse()
	}
	if err := c.rules.mutate(h, common.GetHeaderMutation()); err != nil {
		c.stream.end(nil)
		return nil, forbidden(err)
	}
	data = mutated(data, common.GetBodyMutation())
	if whole {
		return filter.BodyOf(data), nil
	}
	return &joined{first: data, Body: source}, nil
}

// gather reads a body up to what may be kept of it.
func (c *processing) gather(d *direction, source filter.Body) (data []byte, whole bool, err error) {
	for len(data) <= maxBuffered {
		piece, err := source.Next()
		if errors.Is(err, io.EOF) {
			return data, true, nil
		} else if err != nil {
			return nil, false, err
		}
		data = append(data, piece...)
	}
	if d.mode == bodyPartial {
		return data, false, nil
	}
	c.stream.end(errEnded)
	r := &filter.Reply{Status: http.StatusRequestEntityTooLarge, Body: "Payload Too Large", Code: codes.ResourceExhausted, Err: errTooLarge}
	if d == &c.stream.response {
		r.Status, r.Body = http.StatusInternalServerError, "Internal Server Error"
	}
	return nil, false, r
}

var errTooLarge = errors.New("external processing: the body is larger than what is buffered of one")

// joined is a body whose beginning was read and changed.
type joined struct {
	first []byte
	begun bool
	filter.Body
}

func (b *joined) Next() ([]byte, error) {
	if !b.begun && len(b.first) > 0 {
		b.begun = true
		return b.first, nil
	}
	return b.Body.Next()
}
