package balancer

// Connector makes the connections of one protocol: for gRPC a SubConn per
// endpoint, for HTTP an http.Transport per endpoint.
type Connector interface {
	// NewConn prepares to connect to e. It must not block, and should not connect
	// before it is asked to. It is called by one goroutine at a time for a View.
	//
	// The Conn calls report, from any goroutine, whenever its state has changed; err
	// says why for TransientFailure and is else ignored. It begins as Idle. Reports
	// after Close are ignored.
	NewConn(e *Endpoint, report func(s State, err error)) Conn
}

// Conn is a View's connection, or pool of connections, to one endpoint.
type Conn interface {
	// Connect starts to connect if the Conn is idle. It must not block. A Conn that
	// connects when it is used (ViewOptions.OnDemand) is never asked to.
	Connect()

	// Close ends the Conn: the endpoint is gone, or is not needed any more. Calls in
	// flight must be let finish, and a call that had picked the Conn just before
	// may still begin. It must not block.
	Close()
}
