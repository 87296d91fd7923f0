package orca

import (
	"fmt"
	"maps"

	orcav3 "github.com/cncf/xds/go/xds/data/orca/v3"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"
)

// Report is what a server says of its load (xds.data.orca.v3.OrcaLoadReport). What is
// zero counts as not said. Utilizations are shares of 1, and may exceed it.
type Report struct {
	CPU, Memory, Application float64
	// QueriesPerSecond and ErrorsPerSecond are of the whole server.
	QueriesPerSecond, ErrorsPerSecond float64
	// Named are metrics of the application's own, Utilizations further ones that are
	// shares of 1, and Costs what the one request took. They may be nil.
	Named, Utilizations, Costs map[string]float64
}

// trailer is the name of what a gRPC server reports its load in, at the end of a call.
const trailer = "endpoint-load-metrics-bin"

// ParseTrailer returns the report in the trailer of a gRPC call (gRFC A51), nil if there is
// none. The error says what is wrong with it, or that there are several.
func ParseTrailer(md metadata.MD) (*Report, error) {
	switch values := md[trailer]; len(values) {
	case 0:
		return nil, nil //nolint:nilnil // most calls have none, which is no error
	case 1:
		m := new(orcav3.OrcaLoadReport)
		if err := proto.Unmarshal([]byte(values[0]), m); err != nil {
			return nil, fmt.Errorf("%s: %w", trailer, err)
		}
		return of(m), nil
	default:
		return nil, fmt.Errorf("%s: there are %d, not one", trailer, len(values))
	}
}

func of(m *orcav3.OrcaLoadReport) *Report {
	return &Report{
		CPU:              m.GetCpuUtilization(),
		Memory:           m.GetMemUtilization(),
		Application:      m.GetApplicationUtilization(),
		QueriesPerSecond: m.GetRpsFractional(),
		ErrorsPerSecond:  m.GetEps(),
		Named:            m.GetNamedMetrics(),
		Utilizations:     m.GetUtilization(),
		Costs:            m.GetRequestCost(),
	}
}

func (r *Report) proto() *orcav3.OrcaLoadReport {
	return &orcav3.OrcaLoadReport{
		CpuUtilization:         r.CPU,
		MemUtilization:         r.Memory,
		ApplicationUtilization: r.Application,
		RpsFractional:          r.QueriesPerSecond,
		Eps:                    r.ErrorsPerSecond,
		NamedMetrics:           maps.Clone(r.Named),
		Utilization:            maps.Clone(r.Utilizations),
		RequestCost:            maps.Clone(r.Costs),
	}
}
