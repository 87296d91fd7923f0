package extproc

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	extprocv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/ext_proc/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/weft-mesh/weft/filter"
)

const (
	defaultTimeout = 200 * time.Millisecond
	defaultLinger  = 5 * time.Second
	maxTimeout     = time.Hour // as Envoy bounds it
)

// config is an ExternalProcessor that was read. It is immutable.
type config struct {
	service  filter.Service
	mode     mode
	failOpen bool
	status   int // of calls that the server failed

	timeout    time.Duration
	maxTimeout time.Duration // up to which the server may ask for more; 0 for never

	rules   rules
	forward forward

	requestAttributes, responseAttributes []string

	overridesMode bool
	allowedModes  []mode // empty for all
	refusesReply  bool

	hasty    bool // bodies are sent before the header is answered (send_body_without_waiting_for_header_response)
	observes bool
	linger   time.Duration
}

func parseConfig(c *filter.Config, m *extprocv3.ExternalProcessor) (*config, error) {
	warnUnread(c, m, "", "grpc_service", "http_service", "failure_mode_allow", "processing_mode", "request_attributes", "response_attributes",
		"message_timeout", "stat_prefix", "mutation_rules", "max_message_timeout", "forward_rules", "allow_mode_override",
		"disable_immediate_response", "observability_mode", "disable_clear_route_cache", "deferred_close_timeout",
		"send_body_without_waiting_for_header_response", "allowed_override_modes", "status_on_error")
	if m.GetHttpService() != nil {
		return nil, errors.New("http_service: not supported; use grpc_service")
	}
	v := &config{
		failOpen:          m.GetFailureModeAllow(),
		requestAttributes: m.GetRequestAttributes(), responseAttributes: m.GetResponseAttributes(),
		overridesMode: m.GetAllowModeOverride(),
		refusesReply:  m.GetDisableImmediateResponse(),
		hasty:         m.GetSendBodyWithoutWaitingForHeaderResponse(),
		observes:      m.GetObservabilityMode(),
		status:        http.StatusInternalServerError,
	}
	var err error
	if v.service, err = parseService(c, m.GetGrpcService()); err != nil {
		return nil, err
	}
	if v.mode, err = checkedMode(m.GetProcessingMode()); err != nil {
		return nil, fmt.Errorf("processing_mode.%w", err)
	}
	warnMode(c, v.mode, "processing_mode.")
	for i, allowed := range m.GetAllowedOverrideModes() {
		one, err := parseMode(allowed)
		if err != nil {
			return nil, fmt.Errorf("allowed_override_modes[%d].%w", i, err)
		}
		v.allowedModes = append(v.allowedModes, one)
	}
	for _, d := range []struct {
		field     string
		from      *durationpb.Duration
		to        *time.Duration
		otherwise time.Duration
	}{
		{"message_timeout", m.GetMessageTimeout(), &v.timeout, defaultTimeout},
		{"max_message_timeout", m.GetMaxMessageTimeout(), &v.maxTimeout, 0},
		{"deferred_close_timeout", m.GetDeferredCloseTimeout(), &v.linger, defaultLinger},
	} {
		if *d.to = d.otherwise; d.from == nil {
			continue
		}
		if *d.to = d.from.AsDuration(); d.from.CheckValid() != nil || *d.to < 0 || *d.to > maxTimeout {
			return nil, fmt.Errorf("%s: must be from 0 to %v", d.field, maxTimeout)
		}
	}
	if s := m.GetStatusOnError(); s != nil {
		if v.status = int(s.GetCode()); v.status < 200 || v.status > 599 {
			return nil, fmt.Errorf("status_on_error.code: %d is not the status of a response", v.status)
		}
	}
	if v.rules, err = parseRules(m.GetMutationRules()); err != nil {
		return nil, fmt.Errorf("mutation_rules.%w", err)
	}
	if v.forward, err = parseForward(m.GetForwardRules()); err != nil {
		return nil, fmt.Errorf("forward_rules.%w", err)
	}
	return v, nil
}

func parseService(c *filter.Config, m *corev3.GrpcService) (filter.Service, error) {
	if m == nil {
		return nil, errors.New("grpc_service: must be set")
	}
	s, err := c.Service(m)
	if err != nil {
		return nil, fmt.Errorf("grpc_service.%w", err)
	}
	return s, nil
}

// override is an ExtProcPerRoute that was read. What is nil it leaves as it is.
type override struct {
	disabled                              bool
	mode                                  *mode
	service                               filter.Service
	failOpen                              *bool
	requestAttributes, responseAttributes []string
}

func parseOverride(c *filter.Config, m *extprocv3.ExtProcPerRoute) (*override, error) {
	if m.GetDisabled() {
		return &override{disabled: true}, nil
	}
	o := m.GetOverrides()
	if o == nil {
		return nil, errors.New("must have disabled or overrides")
	}
	warnUnread(c, o, "overrides.", "processing_mode", "grpc_service", "failure_mode_allow", "request_attributes", "response_attributes")
	v := &override{requestAttributes: o.GetRequestAttributes(), responseAttributes: o.GetResponseAttributes()}
	if o.GetProcessingMode() != nil {
		one, err := checkedMode(o.GetProcessingMode())
		if err != nil {
			return nil, fmt.Errorf("overrides.processing_mode.%w", err)
		}
		warnMode(c, one, "overrides.processing_mode.")
		v.mode = &one
	}
	if o.GetGrpcService() != nil {
		var err error
		if v.service, err = parseService(c, o.GetGrpcService()); err != nil {
			return nil, fmt.Errorf("overrides.%w", err)
		}
	}
	if o.GetFailureModeAllow() != nil {
		v.failOpen = proto.Bool(o.GetFailureModeAllow().GetValue())
	}
	return v, nil
}

func (o *override) apply(c *config) {
	if o.mode != nil {
		c.mode = *o.mode
	}
	if o.service != nil {
		c.service = o.service
	}
	if o.failOpen != nil {
		c.failOpen = *o.failOpen
	}
	if o.requestAttributes != nil {
		c.requestAttributes = o.requestAttributes
	}
	if o.responseAttributes != nil {
		c.responseAttributes = o.responseAttributes
	}
}

func checkedMode(m *extprocv3.ProcessingMode) (mode, error) {
	v, err := parseMode(m)
	if err == nil {
		err = v.check()
	}
	return v, err
}

// warnMode warns of what of a mode has no effect: trailers of requests are not sent.
func warnMode(c *filter.Config, m mode, prefix string) {
	if m.requestTrailer == send && m.requestBody != bodyDuplex {
		c.Warn(prefix + "request_trailer_mode")
	}
}

// warnUnread warns of fields of m that are set and not read; prefix is the path of m.
func warnUnread(c *filter.Config, m proto.Message, prefix string, read ...protoreflect.Name) {
	m.ProtoReflect().Range(func(f protoreflect.FieldDescriptor, _ protoreflect.Value) bool {
		if !slices.Contains(read, f.Name()) {
			c.Warn(prefix + string(f.Name()))
		}
		return true
	})
}
