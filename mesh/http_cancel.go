package mesh

import (
	"context"
	"errors"
	"net/http"
)

// untilCanceled returns the context of the time between attempts: the request's, which ends by
// Request.Cancel, too. That is deprecated, and transports see to it while they have an
// attempt; http.Client sets it for its Timeout. What is returned must be called.
func untilCanceled(req *http.Request) (context.Context, func()) {
	canceled := req.Cancel //nolint:staticcheck // who has it set expects it to be heeded
	if canceled == nil {
		return req.Context(), func() {}
	}
	ctx, cancel := context.WithCancel(req.Context())
	select {
	case <-canceled:
		cancel()
		return ctx, cancel
	default:
	}
	go func() {
		select {
		case <-canceled:
			cancel()
		case <-ctx.Done():
		}
	}()
	return ctx, cancel
}

// errRequestCanceled is the error of a request that was canceled by Request.Cancel before it had
// a connection.
var errRequestCanceled = errors.New("weft: request canceled while waiting for connection")
