package extproc

import (
	"fmt"
	"slices"

	extprocv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/ext_proc/v3"

	"github.com/weft-mesh/weft/filter"
)

// mode is which events are sent (envoy.extensions.filters.http.ext_proc.v3.ProcessingMode).
type mode struct {
	requestHeader, responseHeader extprocv3.ProcessingMode_HeaderSendMode
	requestTrailer, trailer       extprocv3.ProcessingMode_HeaderSendMode
	requestBody, responseBody     extprocv3.ProcessingMode_BodySendMode
}

const (
	sendDefault = extprocv3.ProcessingMode_DEFAULT
	send        = extprocv3.ProcessingMode_SEND
	skip        = extprocv3.ProcessingMode_SKIP

	bodyNone     = extprocv3.ProcessingMode_NONE
	bodyStreamed = extprocv3.ProcessingMode_STREAMED
	bodyBuffered = extprocv3.ProcessingMode_BUFFERED
	bodyPartial  = extprocv3.ProcessingMode_BUFFERED_PARTIAL
	bodyDuplex   = extprocv3.ProcessingMode_FULL_DUPLEX_STREAMED
	bodyGRPC     = extprocv3.ProcessingMode_GRPC
)

// parseMode reads which events are sent; by default the headers.
func parseMode(m *extprocv3.ProcessingMode) (mode, error) {
	v := mode{
		m.GetRequestHeaderMode(), m.GetResponseHeaderMode(),
		m.GetRequestTrailerMode(), m.GetResponseTrailerMode(),
		m.GetRequestBodyMode(), m.GetResponseBodyMode(),
	}
	for i, body := range []extprocv3.ProcessingMode_BodySendMode{v.requestBody, v.responseBody} {
		if _, known := extprocv3.ProcessingMode_BodySendMode_name[int32(body)]; !known {
			return v, fmt.Errorf("%s_body_mode: %v is not supported", directions[i], body)
		}
	}
	return v, nil
}

var directions = [...]string{"request", "response"}

// check is the error of a mode that cannot be, as Envoy has it.
func (m mode) check() error {
	for i, body := range []extprocv3.ProcessingMode_BodySendMode{m.requestBody, m.responseBody} {
		trailer := []extprocv3.ProcessingMode_HeaderSendMode{m.requestTrailer, m.trailer}[i]
		if body == bodyDuplex && trailer != send {
			return fmt.Errorf("%s_trailer_mode: must be SEND where %[1]s_body_mode is FULL_DUPLEX_STREAMED", directions[i])
		}
	}
	return nil
}

func (m mode) sendsRequest() bool  { return m.requestHeader != skip }
func (m mode) sendsResponse() bool { return m.responseHeader != skip }
func (m mode) sendsTrailer() bool  { return m.trailer == send }

// response reports whether anything of the response is sent.
func (m mode) response() bool {
	return m.sendsResponse() || m.sendsTrailer() || m.responseBody != bodyNone
}

// nothing reports whether no event is sent.
func (m mode) nothing() bool {
	return !m.sendsRequest() && m.requestBody == bodyNone && !m.response()
}

// duplex reports whether bodies come back when and as the server likes.
func duplex(body extprocv3.ProcessingMode_BodySendMode) bool {
	return body == bodyDuplex || body == bodyGRPC
}

// buffered reports whether a body is sent whole, or its beginning is.
func buffered(body extprocv3.ProcessingMode_BodySendMode) bool {
	return body == bodyBuffered || body == bodyPartial
}

// overridden is m as an override has it: what that says nothing of stays.
func (m mode) overridden(by mode) mode {
	keep := func(is *extprocv3.ProcessingMode_HeaderSendMode, to extprocv3.ProcessingMode_HeaderSendMode) {
		if to != sendDefault {
			*is = to
		}
	}
	keep(&m.requestHeader, by.requestHeader)
	keep(&m.responseHeader, by.responseHeader)
	keep(&m.requestTrailer, by.requestTrailer)
	keep(&m.trailer, by.trailer)
	m.requestBody, m.responseBody = by.requestBody, by.responseBody
	return m
}

// overridable reports whether the server's mode_override counts, as in Envoy.
func (c *config) overridable() bool {
	return c.overridesMode && !c.hasty && c.mode.requestBody != bodyDuplex && c.mode.responseBody != bodyDuplex
}

// allowsMode reports whether the server may have a call go on in a mode. That of the
// request's header does not count: it was sent.
func (c *config) allowsMode(m mode) bool {
	if len(c.allowedModes) == 0 {
		return true
	}
	return slices.ContainsFunc(c.allowedModes, func(a mode) bool {
		a.requestHeader = m.requestHeader
		return a == m
	})
}

// suits is the error of a call to whose protocol the mode does not apply: gRPC's bodies
// are messages, and GRPC the mode for them (gRFC A93); HTTP's are not.
func (m mode) suits(r *filter.Request) error {
	for _, one := range []struct {
		field string
		body  extprocv3.ProcessingMode_BodySendMode
	}{{"request_body_mode", m.requestBody}, {"response_body_mode", m.responseBody}} {
		switch {
		case one.body == bodyNone:
		case r.GRPC && one.body != bodyGRPC:
			return fmt.Errorf("%s: %v is not for gRPC calls, only NONE and GRPC are (gRFC A93)", one.field, one.body)
		case !r.GRPC && one.body == bodyGRPC:
			return fmt.Errorf("%s: GRPC is not for HTTP requests", one.field)
		}
	}
	return nil
}
