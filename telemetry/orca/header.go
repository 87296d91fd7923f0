package orca

import (
	"encoding/base64"
	"errors"
	"fmt"
	"math"
	"net/http"
	"strconv"
	"strings"

	orcav3 "github.com/cncf/xds/go/xds/data/orca/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
)

// The names of the headers, as net/http writes them.
const (
	binHeader = "Endpoint-Load-Metrics-Bin"
	header    = "Endpoint-Load-Metrics"
)

// SetHeader puts the report into the header of a response, or into its trailer, in the
// one form that all clients read: protobuf in base64. A trailer is declared before the
// response is written, or has http.TrailerPrefix before its name.
func (r *Report) SetHeader(h http.Header) {
	raw, err := proto.Marshal(r.proto())
	if err != nil {
		return // a name that is not UTF-8
	}
	h.Set(binHeader, base64.StdEncoding.EncodeToString(raw))
}

// ParseHeader returns the report in the header or the trailer of a response, in the
// forms of gRPC and Envoy (source/common/orca/orca_parser.cc): endpoint-load-metrics-bin,
// or endpoint-load-metrics with "BIN ", "JSON " or "TEXT " before its value. It
// returns nil if there is none.
func ParseHeader(h http.Header) (*Report, error) {
	if bin := h[binHeader]; len(bin) > 0 {
		return parseBinary(bin[0])
	}
	values := h[header]
	if len(values) == 0 {
		return nil, nil //nolint:nilnil // most responses have none, which is no error
	}
	form, value, _ := strings.Cut(values[0], " ")
	switch form {
	case "BIN":
		return parseBinary(value)
	case "JSON":
		m := new(orcav3.OrcaLoadReport)
		if err := (protojson.UnmarshalOptions{DiscardUnknown: true}).Unmarshal([]byte(value), m); err != nil {
			return nil, fmt.Errorf("%s: %w", header, err)
		}
		return of(m), nil
	case "TEXT":
		return parseText(value)
	}
	return nil, fmt.Errorf("%s is neither BIN, JSON nor TEXT", header)
}

func parseBinary(value string) (*Report, error) {
	raw, err := base64.RawStdEncoding.DecodeString(strings.TrimRight(value, "="))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", binHeader, err)
	}
	m := new(orcav3.OrcaLoadReport)
	if err := proto.Unmarshal(raw, m); err != nil {
		return nil, fmt.Errorf("%s: %w", binHeader, err)
	}
	return of(m), nil
}

// parseText reads "cpu_utilization=0.3,named_metrics.queue=7", also with colons in
// place of the equals signs.
func parseText(value string) (*Report, error) {
	r := new(Report)
	seen := map[string]bool{}
	for entry := range strings.SplitSeq(value, ",") {
		if entry = strings.TrimSpace(entry); entry == "" {
			continue
		}
		at := strings.IndexAny(entry, "=:")
		if at < 0 {
			return nil, fmt.Errorf("%s: %q has no value", header, entry)
		}
		name := strings.TrimSpace(entry[:at])
		v, err := strconv.ParseFloat(strings.TrimSpace(entry[at+1:]), 64)
		switch {
		case err != nil:
			return nil, fmt.Errorf("%s: %s: %w", header, name, err)
		case math.IsNaN(v) || math.IsInf(v, 0):
			return nil, fmt.Errorf("%s: %s is %v", header, name, v)
		case seen[name]:
			return nil, fmt.Errorf("%s: %s is said twice", header, name)
		}
		seen[name] = true
		if err := r.set(name, v); err != nil {
			return nil, fmt.Errorf("%s: %s: %w", header, name, err)
		}
	}
	return r, nil
}

var errUnknownMetric = errors.New("not a metric of a load report")

func (r *Report) set(name string, v float64) error {
	switch name {
	case "cpu_utilization":
		r.CPU = v
	case "mem_utilization":
		r.Memory = v
	case "application_utilization":
		r.Application = v
	case "rps_fractional":
		r.QueriesPerSecond = v
	case "eps":
		r.ErrorsPerSecond = v
	default:
		field, key, _ := strings.Cut(name, ".")
		var to *map[string]float64
		switch field {
		case "named_metrics":
			to = &r.Named
		case "utilization":
			to = &r.Utilizations
		case "request_cost":
			to = &r.Costs
		}
		if to == nil || key == "" {
			return errUnknownMetric
		}
		if *to == nil {
			*to = map[string]float64{}
		}
		(*to)[key] = v
	}
	return nil
}
