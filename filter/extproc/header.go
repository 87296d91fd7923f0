package extproc

import (
	"fmt"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	servicev3 "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"

	"github.com/weft-mesh/weft/filter"
)

// headerMap is a header as the server gets it, pseudo-headers first.
func (f *forward) headerMap(h *filter.Header, pseudo ...string) *corev3.HeaderMap {
	m := &corev3.HeaderMap{}
	add := func(name, value string) {
		if f.sends(name) {
			m.Headers = append(m.Headers, &corev3.HeaderValue{Key: name, RawValue: []byte(value)})
		}
	}
	for i := 0; i < len(pseudo); i += 2 {
		add(pseudo[i], pseudo[i+1])
	}
	for name, values := range h.All() {
		name = strings.ToLower(name)
		for _, v := range values {
			add(name, v)
		}
	}
	return m
}

// maxHeader bounds a name and a value, in bytes (gRFC A93).
const maxHeader = 16384

// untouchable are headers that the server cannot change, whatever the rules: they say
// where a call goes or how its body is framed.
func untouchable(name string) bool {
	return name == "host" || strings.HasPrefix(name, ":") || name == "content-length" || name == "transfer-encoding"
}

// mutate changes h as the server asks, removals first as in Envoy. An error, which is a
// mutation that is not allowed where that is one, leaves h as it was.
func (r *rules) mutate(h *filter.Header, m *servicev3.HeaderMutation) error {
	var remove []string
	for _, name := range m.GetRemoveHeaders() {
		name = strings.ToLower(name)
		switch {
		case untouchable(name):
		case validName(name) && r.allows(name):
			remove = append(remove, name)
		case r.isError:
			return fmt.Errorf("the server must not remove the header %.64q", name)
		}
	}
	var set []*corev3.HeaderValueOption
	for _, o := range m.GetSetHeaders() {
		name := strings.ToLower(o.GetHeader().GetKey())
		switch {
		case untouchable(name):
		case validName(name) && validValue(name, value(o)) && r.allows(name):
			set = append(set, o)
		case r.isError:
			return fmt.Errorf("the server must not set the header %.64q", name)
		}
	}
	for _, name := range remove {
		h.Del(filter.NewHeaderName(name))
	}
	for _, o := range set {
		setHeader(h, o)
	}
	return nil
}

// setHeader does what one option asks. The deprecated append counts if it is set, as in
// Envoy.
func setHeader(h *filter.Header, o *corev3.HeaderValueOption) {
	name, v := filter.NewHeaderName(o.GetHeader().GetKey()), value(o)
	action := o.GetAppendAction()
	if o.GetAppend() != nil {
		action = corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD
		if o.GetAppend().GetValue() {
			action = corev3.HeaderValueOption_APPEND_IF_EXISTS_OR_ADD
		}
	}
	exists := len(h.Values(name)) > 0
	drop := v == "" && !o.GetKeepEmptyValue()
	switch action {
	case corev3.HeaderValueOption_APPEND_IF_EXISTS_OR_ADD:
		if !drop {
			h.Add(name, v)
		}
		return
	case corev3.HeaderValueOption_ADD_IF_ABSENT:
		if exists {
			return
		}
	case corev3.HeaderValueOption_OVERWRITE_IF_EXISTS:
		if !exists {
			return
		}
	case corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD:
	default:
		return // an action of a newer version
	}
	if drop {
		h.Del(name)
		return
	}
	h.Set(name, v)
}

// value is what an option sets: raw_value, or value from servers that use that.
func value(o *corev3.HeaderValueOption) string {
	if raw := o.GetHeader().GetRawValue(); len(raw) > 0 {
		return string(raw)
	}
	return o.GetHeader().GetValue()
}

// validName reports whether a name in lower case is one (RFC 9110, 5.6.2).
func validName(name string) bool {
	return name != "" && len(name) <= maxHeader &&
		strings.Trim(name, "abcdefghijklmnopqrstuvwxyz0123456789!#$%&'*+-.^_`|~") == ""
}

func validValue(name, v string) bool {
	return len(v) <= maxHeader && (strings.HasSuffix(name, "-bin") || !strings.ContainsFunc(v, func(r rune) bool {
		return r < ' ' && r != '\t' || r == 0x7f
	}))
}
