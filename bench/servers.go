package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/weft-mesh/weft/xdsserver"
	"github.com/weft-mesh/weft/xdsserver/policy"
)

// servers is what the clients call, in a process of its own: the backends of both
// protocols, and an xdsserver whose policy names them.
type servers struct {
	addresses
	*process
}

// addresses is what the process says of itself, as a line of JSON.
type addresses struct {
	GRPC, HTTP []string // backends; HTTP's speak HTTP/1.1 and h2c
	Limited    string   // a gRPC backend that limits streams and is slow
	XDS        string
	Status     string // of adsStreams
}

// startServers runs this program again as the servers.
func startServers(ctx context.Context) (*servers, error) {
	s := &servers{}
	var err error
	s.process, err = startProcess(ctx, "servers", nil, &s.addresses)
	return s, err
}

// adsStreams is how many ADS streams the control plane has.
func (s *servers) adsStreams(ctx context.Context) (n int, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.Status, nil)
	if err != nil {
		return 0, err
	}
	req.Close = true
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	_, err = fmt.Fscan(resp.Body, &n)
	return n, err
}

// runServers serves until in ends.
func runServers(in io.Reader, out io.Writer) error {
	ended := make(chan error)
	var a addresses
	// serve serves on a free port.
	serve := func(run func(net.Listener) error) (string, error) {
		l, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp", "127.0.0.1:0")
		if err != nil {
			return "", err
		}
		go func() { ended <- run(l) }()
		return l.Addr().String(), nil
	}
	var errs [2*backends + 3]error
	for i := range backends {
		var name string
		name, errs[i] = serve(func(l net.Listener) error { return newGRPCBackend(l.Addr().String()).Serve(l) })
		a.GRPC = append(a.GRPC, name)
		name, errs[backends+i] = serve(func(l net.Listener) error { return newHTTPBackend(l.Addr().String()).Serve(l) })
		a.HTTP = append(a.HTTP, name)
	}
	a.Limited, errs[2*backends+2] = serve(newLimitedBackend().Serve)
	xds := xdsserver.New(xdsserver.Options{Logger: slog.New(slog.DiscardHandler)})
	a.XDS, errs[2*backends] = serve(xds.Serve)
	a.Status, errs[2*backends+1] = serve(func(l net.Listener) error {
		streams := func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, len(xds.Clients())) }
		return (&http.Server{Handler: http.HandlerFunc(streams), ReadHeaderTimeout: time.Minute}).Serve(l)
	})
	a.Status = "http://" + a.Status
	if err := errors.Join(errs[:]...); err != nil {
		return err
	}
	p, err := policy.Parse("bench", []byte(policyText(a)))
	if err != nil {
		return err
	}
	resources, err := p.Compile()
	if err != nil {
		return err
	}
	if err := xds.Apply(resources); err != nil {
		return err
	}
	if err := json.NewEncoder(out).Encode(a); err != nil {
		return err
	}
	go func() {
		_, err := io.Copy(io.Discard, in)
		ended <- err
	}()
	return <-ended
}
