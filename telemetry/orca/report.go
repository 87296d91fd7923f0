package orca

import (
	"maps"

	orcav3 "github.com/cncf/xds/go/xds/data/orca/v3"
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

// Of returns the report in what grpc calls a server's load
// (google.golang.org/grpc/balancer.DoneInfo.ServerLoad), nil if there is none. It shares
// the maps.
func Of(load any) *Report {
	if m, ok := load.(*orcav3.OrcaLoadReport); ok && m != nil {
		return of(m)
	}
	return nil
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
