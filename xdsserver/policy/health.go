package policy

import "time"

// HealthCheck asks endpoints how they are (envoy.config.core.v3.HealthCheck): by exactly
// one of http, grpc and tcp. Calls leave an endpoint that does not pass alone; a new one
// gets none before it has passed once. Stock gRPC clients make no checks.
type HealthCheck struct {
	// HTTP sends a request and looks at the status of the answer.
	HTTP *HTTPHealthCheck `policy:"http"`
	// GRPC asks grpc.health.v1.Health.
	GRPC *GRPCHealthCheck `policy:"grpc"`
	// TCP connects.
	TCP *TCPHealthCheck `policy:"tcp"`

	// Interval is the time between two checks, greater than zero. Not given means 5s.
	Interval *time.Duration `policy:"interval"`
	// Timeout bounds one check, greater than zero. Not given means 1s.
	Timeout *time.Duration `policy:"timeout"`
	// UnhealthyThreshold is after how many failures in a row an endpoint is out, at
	// least 1; an answer that is not as expected is enough. Not given means 3.
	UnhealthyThreshold *uint32 `policy:"unhealthyThreshold"`
	// HealthyThreshold is after how many successes in a row an endpoint is back, at
	// least 1; the first of all is enough. Not given means 2.
	HealthyThreshold *uint32 `policy:"healthyThreshold"`

	// InitialJitter is the most that the first check is put off, at random.
	InitialJitter *time.Duration `policy:"initialJitter"`
	// IntervalJitter is the most that is added to an interval at random.
	IntervalJitter *time.Duration `policy:"intervalJitter"`
	// IntervalJitterPercent is the same as a percentage of the interval.
	IntervalJitterPercent uint32 `policy:"intervalJitterPercent"`
	// NoTrafficInterval is the interval until the first call to the service. Not given
	// means 60s.
	NoTrafficInterval *time.Duration `policy:"noTrafficInterval"`
	// NoTrafficHealthyInterval is that of endpoints that pass. Not given means
	// noTrafficInterval.
	NoTrafficHealthyInterval *time.Duration `policy:"noTrafficHealthyInterval"`
	// UnhealthyInterval is the interval after a failure. Not given means interval.
	UnhealthyInterval *time.Duration `policy:"unhealthyInterval"`
	// UnhealthyEdgeInterval is the interval after a failure that has not taken the
	// endpoint out yet. Not given means unhealthyInterval.
	UnhealthyEdgeInterval *time.Duration `policy:"unhealthyEdgeInterval"`
	// HealthyEdgeInterval is the interval after a success that has not brought the
	// endpoint back yet. Not given means interval.
	HealthyEdgeInterval *time.Duration `policy:"healthyEdgeInterval"`
	// ReuseConnection keeps the connection from one check to the next. Not given means
	// true.
	ReuseConnection *bool `policy:"reuseConnection"`
}

// HTTPHealthCheck is a request. The plain string "/healthz" is {path: /healthz}.
type HTTPHealthCheck struct {
	// Path is the request's path, with its query if it has one.
	Path string `policy:"path,required"`
	// Host is the request's host. Empty means the service's name.
	Host string `policy:"host"`
	// Method is the request's method. Empty means GET.
	Method HealthCheckMethod `policy:"method"`
	// Headers are added to the request.
	Headers map[string]string `policy:"headers"`
	// ExpectedStatuses are the statuses of an endpoint that is well, 100 to 599. Not given
	// means 200.
	ExpectedStatuses []uint32 `policy:"expectedStatuses"`
	// RetriableStatuses are those that count towards unhealthyThreshold, 100 to 599. All
	// others take an endpoint out at once.
	RetriableStatuses []uint32 `policy:"retriableStatuses"`
}

func (c *HTTPHealthCheck) fromText(s string) { c.Path = s }

// HealthCheckMethod is the method of a check's request.
type HealthCheckMethod string

// The methods.
const (
	HealthCheckGET     HealthCheckMethod = "GET"
	HealthCheckHEAD    HealthCheckMethod = "HEAD"
	HealthCheckPOST    HealthCheckMethod = "POST"
	HealthCheckOPTIONS HealthCheckMethod = "OPTIONS"
)

func (HealthCheckMethod) values() []string {
	return []string{string(HealthCheckGET), string(HealthCheckHEAD), string(HealthCheckPOST), string(HealthCheckOPTIONS)}
}

// GRPCHealthCheck is a question to grpc.health.v1.Health.
type GRPCHealthCheck struct {
	// ServiceName is the service that is asked for. Empty means the server as a whole.
	ServiceName string `policy:"serviceName"`
	// Authority is what the call names. Empty means the service's name.
	Authority string `policy:"authority"`
}

// TCPHealthCheck connects, and has what it sends answered.
type TCPHealthCheck struct {
	// Send is sent once connected. Only with receive.
	Send string `policy:"send"`
	// Receive are what must come back, one after the other. Not given means that a
	// connection is enough.
	Receive []string `policy:"receive"`
}
