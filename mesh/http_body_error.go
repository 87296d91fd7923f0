package mesh

import (
	"context"
	"errors"
	"io"

	"github.com/weft-mesh/weft/balancer"
	"github.com/weft-mesh/weft/mesh/internal/call"
)

// bodyError is why the body of a request could not be read. That is the application's
// doing: it ends the call, and no endpoint is to blame.
type bodyError struct{ error }

func (e bodyError) Unwrap() error { return e.error }

// readBody reads from a body of the application's.
func readBody(body io.Reader, p []byte) (int, error) {
	n, err := body.Read(p)
	if err != nil && err != io.EOF { // as net/http compares it
		err = bodyError{err}
	}
	return n, err
}

// unanswered is the outcome of an attempt that ended with err before an answer.
func unanswered(ctx context.Context, err error) balancer.Outcome {
	if errors.As(err, new(bodyError)) || errors.Is(err, errBodySent) {
		err = context.Canceled
	}
	return call.Unanswered(ctx, err)
}

// forCaller is err as the application gets it: its own as it was.
func forCaller(err error) error {
	if own := (bodyError{}); errors.As(err, &own) {
		return own.error
	}
	return err
}
