package orca_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"time"

	"google.golang.org/grpc"
	grpcorca "google.golang.org/grpc/orca"

	"github.com/weft-mesh/weft/telemetry/orca"
)

// An HTTP server reports its load with each response, and a client reads it.
func ExampleReport_SetHeader() {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		(&orca.Report{CPU: 0.3, QueriesPerSecond: 120}).SetHeader(w.Header())
		fmt.Fprint(w, "hello")
	}))
	defer server.Close()

	resp, err := server.Client().Get(server.URL)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer resp.Body.Close()
	report, err := orca.ParseHeader(resp.Header)
	fmt.Println(report.CPU, report.QueriesPerSecond, err)
	// Output: 0.3 120 <nil>
}

// A gRPC server reports its load with each answer and, to clients that ask, on a stream
// of its own: with grpc's own package.
func Example_gRPC() {
	load := grpcorca.NewServerMetricsRecorder()
	server := grpc.NewServer(grpcorca.CallMetricsServerOption(load))
	defer server.Stop()
	err := grpcorca.Register(server, grpcorca.ServiceOptions{ServerMetricsProvider: load, MinReportingInterval: 30 * time.Second})

	// From time to time, as the program measures it:
	load.SetCPUUtilization(0.3)
	load.SetQPS(120)
	fmt.Println(err)
	// Output: <nil>
}
