package extproc

import (
	"errors"
	"fmt"
	"net/http"

	servicev3 "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"
	"google.golang.org/grpc/codes"

	"github.com/weft-mesh/weft/filter"
)

// errLate is why a call failed whose server took too long.
var errLate = errors.New("no answer in time")

// failure is the answer to a call that the server failed. What went wrong is for the
// program, not for a response: it may name hosts.
func (c *config) failure(err error) error {
	r := &filter.Reply{Status: c.status, Code: codes.Unavailable, Err: fmt.Errorf("external processing: %w", err)}
	r.Body = "external processing failed"
	if errors.Is(err, errLate) {
		r.Status, r.Body = http.StatusGatewayTimeout, "external processing timed out"
	}
	return r
}

// misused is the answer to a call to whose protocol the processing mode does not apply,
// with failure_mode_allow too: it would go on unseen.
func misused(err error) error {
	return &filter.Reply{
		Status: http.StatusInternalServerError, Code: codes.Unavailable,
		Body: "external processing failed", Err: fmt.Errorf("external processing: processing_mode.%w", err),
	}
}

// forbidden is the answer to a call whose headers the server changed against the rules,
// with failure_mode_allow too (gRFC A93).
func forbidden(err error) error {
	return &filter.Reply{
		Status: http.StatusInternalServerError, Code: codes.Internal,
		Body: "external processing failed", Err: fmt.Errorf("external processing: mutation_rules: %w", err),
	}
}

// immediate is the server's own answer. Its status is 200 if it names none. Under gRPC,
// details are the message.
func immediate(m *servicev3.ImmediateResponse, grpc bool) *filter.Reply {
	r := &filter.Reply{Status: int(m.GetStatus().GetCode()), Body: string(m.GetBody())}
	if r.Status == 0 {
		r.Status = http.StatusOK
	}
	if r.Status < 200 || r.Status > 599 {
		r.Status = http.StatusInternalServerError
	}
	if s := m.GetGrpcStatus(); s != nil {
		r.Code = codes.Code(s.GetStatus())
	}
	if grpc && m.GetDetails() != "" {
		r.Body = m.GetDetails()
	}
	header := map[string][]string{}
	h := filter.OwnHTTPHeader(header)
	own := rules{allowEnvoy: true} // the answer is the server's, and no rule is about it
	_ = own.mutate(&h, m.GetHeaders())
	r.Header = header
	return r
}
