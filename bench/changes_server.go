package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"slices"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/weft-mesh/weft/xdsserver"
	"github.com/weft-mesh/weft/xdsserver/policy"
)

// work is what a process that does something again and again is asked for: to begin, or to
// end and say what it did.
type work struct {
	Begin bool
	// Burn is how much CPU the burner takes each time.
	Burn time.Duration
}

// done is what it says.
type done struct {
	Times int
	CPU   time.Duration // of the process
}

// workInterval is how often it does it: a hundred times a second.
const workInterval = 10 * time.Millisecond

// workUntilEnd does it as it is asked to, until in ends.
func workUntilEnd(in *json.Decoder, out *json.Encoder, do func(work) error) error {
	asked := make(chan work)
	ended := make(chan error, 1)
	go func() {
		for {
			var w work
			if err := in.Decode(&w); err != nil {
				ended <- err
				return
			}
			asked <- w
		}
	}()
	var tick <-chan time.Time
	var now work
	var before done
	times := 0
	for {
		select {
		case <-tick:
			if err := do(now); err != nil {
				return err
			}
			times++
		case now = <-asked:
			tick = nil
			if now.Begin {
				ticker := time.NewTicker(workInterval)
				defer ticker.Stop()
				tick = ticker.C
			}
			report := done{Times: times - before.Times, CPU: cpuTime() - before.CPU}
			before = done{Times: times, CPU: cpuTime()}
			if err := out.Encode(report); err != nil {
				return err
			}
		case err := <-ended:
			if errors.Is(err, io.EOF) {
				return nil
			}
			return err
		}
	}
}

// runBurner takes CPU, for nothing.
func runBurner(in io.Reader, out io.Writer) error {
	encoder := json.NewEncoder(out)
	if err := encoder.Encode(done{}); err != nil {
		return err
	}
	return workUntilEnd(json.NewDecoder(in), encoder, func(w work) error {
		for from := cpuTime(); cpuTime()-from < w.Burn; {
		}
		return nil
	})
}

// changingEndpoints is how many endpoints the services have that change.
const changingEndpoints = 10_000

// changing is a control plane one of whose services has many endpoints, of which one after
// another is replaced. Those that serve are in the priority that takes the calls, the rest
// in the next: nothing but the change itself is to make a call slower.
type changing struct {
	xds     *xdsserver.Server
	rest    []*policy.Resource // other than endpoints
	serving []*policy.Resource // the first priority's endpoints, of each service
	spares  [][]byte           // the second's, encoded
	n       int
}

// runChanges is told the addresses of the backends.
func runChanges(in io.Reader, out io.Writer) error {
	decoder, encoder := json.NewDecoder(in), json.NewEncoder(out)
	var a addresses
	if err := decoder.Decode(&a); err != nil {
		return err
	}
	c, err := newChanging(a)
	if err != nil {
		return err
	}
	l, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	served := make(chan error, 1)
	go func() { served <- c.xds.Serve(l) }()
	if err := encoder.Encode(addresses{XDS: l.Addr().String()}); err != nil {
		return err
	}
	err = workUntilEnd(decoder, encoder, func(work) error { return c.change() })
	c.xds.Close()
	return errors.Join(err, <-served)
}

func newChanging(a addresses) (*changing, error) {
	c := &changing{xds: xdsserver.New(xdsserver.Options{Logger: slog.New(slog.DiscardHandler)})}
	p, err := policy.Parse("bench", fmt.Appendf(nil, "services:\n  changing-grpc: {protocol: grpc, endpoints: [%q]}\n  changing-http: {protocol: http, endpoints: [%q]}\n",
		a.GRPC[0], a.HTTP[0]))
	if err != nil {
		return nil, err
	}
	resources, err := p.Compile()
	if err != nil {
		return nil, err
	}
	for r := range resources.All() {
		if r.TypeURL == policy.EndpointType {
			c.serving = append(c.serving, r)
		} else {
			c.rest = append(c.rest, r)
		}
	}
	for i := range changingEndpoints - 1 {
		spare, err := encodedEndpoint(fmt.Sprintf("192.0.%d.%d", i>>8&255, i&255), uint32(1024+i))
		if err != nil {
			return nil, err
		}
		c.spares = append(c.spares, spare)
	}
	return c, c.apply()
}

func encodedEndpoint(ip string, port uint32) ([]byte, error) {
	return proto.Marshal(&endpointv3.LbEndpoint{HostIdentifier: &endpointv3.LbEndpoint_Endpoint{Endpoint: &endpointv3.Endpoint{
		Address: &corev3.Address{Address: &corev3.Address_SocketAddress{SocketAddress: &corev3.SocketAddress{
			Address: ip, PortSpecifier: &corev3.SocketAddress_PortValue{PortValue: port},
		}}},
	}}})
}

// change replaces an endpoint of each service.
func (c *changing) change() error {
	c.n++
	spare, err := encodedEndpoint(fmt.Sprintf("198.18.%d.%d", c.n>>8&255, c.n&255), 80)
	if err != nil {
		return err
	}
	c.spares[c.n*7919%len(c.spares)] = spare
	return c.apply()
}

// apply serves what there is now. The assignment is put together in its encoded form: what
// the control plane does is to be little of what is measured.
func (c *changing) apply() error {
	locality, err := proto.Marshal(&endpointv3.LocalityLbEndpoints{
		Locality: &corev3.Locality{Zone: "b"}, Priority: 1, LoadBalancingWeight: wrapperspb.UInt32(1),
	})
	if err != nil {
		return err
	}
	size := len(locality)
	for _, e := range c.spares {
		size += protowire.SizeTag(2) + protowire.SizeBytes(len(e))
	}
	locality = slices.Grow(locality, size-len(locality))
	for _, e := range c.spares {
		locality = protowire.AppendBytes(protowire.AppendTag(locality, 2, protowire.BytesType), e) // lb_endpoints
	}
	list := append([]*policy.Resource(nil), c.rest...)
	for _, r := range c.serving {
		assignment := slices.Grow(slices.Clone(r.Body.GetValue()), protowire.SizeTag(2)+protowire.SizeBytes(len(locality)))
		assignment = protowire.AppendBytes(protowire.AppendTag(assignment, 2, protowire.BytesType), locality) // endpoints
		list = append(list, policy.NewResource(r.TypeURL, r.Name, assignment))
	}
	return c.xds.Apply(policy.NewResources(list...))
}
