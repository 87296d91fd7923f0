package resolver

import (
	"math"
	"net/netip"
	"strings"
	"unicode/utf8"
	"unsafe"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/weft-mesh/weft/balancer"
)

// A cluster may have ten thousand endpoints, and change often. scanAssignment reads
// the usual form of an assignment straight from the wire, without the messages that
// unmarshalling makes, some twenty allocations an endpoint. It gives up on anything
// else, unknown fields and errors included, and the assignment is then read the
// ordinary way: what is said of it is said in one place. A fuzz test holds the two
// against each other.
//
// What memory has of the assignment before is not decoded again.
func (d *decoder) scanAssignment(raw []byte, memory *assignmentMemory) (name string, a *balancer.Assignment, ok bool) {
	s := assignmentScan{labels: make(map[string]scannedLabels)}
	a = &balancer.Assignment{}
	// Not a copy, of half a megabyte for ten thousand endpoints: raw is not changed (xds.ResourceType).
	text := unsafe.String(unsafe.SliceData(raw), len(raw))
	var prior priorAssignment
	w := wire{rest: text}
	for w.next() {
		switch w.field {
		case 1: // cluster_name
			name = strings.Clone(w.text())
			prior = newPriorAssignment(memory.recall(name))
		case 2: // endpoints
			w.repeated()
			a.Localities = append(a.Localities, balancer.LocalityEndpoints{})
			before, known := prior.next()
			if !s.locality(w.bytes(), &a.Localities[len(a.Localities)-1], before, known) {
				return "", nil, false
			}
		case 4: // policy
			var policy endpointv3.ClusterLoadAssignment_Policy
			if proto.Unmarshal([]byte(w.bytes()), &policy) != nil {
				return "", nil, false
			}
			d.name = name
			if d.root().to("policy").assignmentPolicy(&policy, a) != nil {
				return "", nil, false
			}
		default:
			w.bad = true
		}
	}
	if w.bad || (&path{decoder: d, index: -1}).checkAssignment(a) != nil {
		return "", nil, false
	}
	memory.remember(name, text, a)
	return name, a, true
}

// scannedLabels are the fields of a metadata struct in both forms.
type scannedLabels struct {
	values map[string]balancer.Value
	text   map[string]string
}

type assignmentScan struct {
	// Endpoints with the same labels share the map. By the wire form of the labels.
	labels map[string]scannedLabels
}

// locality reads a LocalityLbEndpoints; known, if not nil, was read from before.
func (s *assignmentScan) locality(raw string, to *balancer.LocalityEndpoints, before string, known *balancer.LocalityEndpoints) bool {
	var prior priorEndpoints
	if known != nil {
		if before == raw {
			*to = *known
			return true
		}
		prior = priorEndpoints{wire: wire{rest: before}, rest: known.Endpoints}
	}
	w := wire{rest: raw}
	count := 0
	for w.next() { // to make the list in one piece
		if w.repeated(); w.field == 2 {
			count++
		}
		w.skip()
	}
	to.Endpoints = make([]balancer.EndpointConfig, 0, count)

	w = wire{rest: raw}
	for w.next() {
		switch w.field {
		case 1: // locality
			if !scanLocality(w.bytes(), &to.Locality) {
				return false
			}
		case 2: // lb_endpoints
			w.repeated()
			of := w.bytes()
			if e := prior.find(of); e != nil {
				to.Endpoints = append(to.Endpoints, *e)
				continue
			}
			to.Endpoints = append(to.Endpoints, balancer.EndpointConfig{})
			if !s.endpoint(of, &to.Endpoints[len(to.Endpoints)-1]) {
				return false
			}
		case 3: // load_balancing_weight
			to.Weight = w.uint32Value()
		case 5: // priority
			to.Priority = w.uint32()
		default:
			return false
		}
	}
	return !w.bad
}

func scanLocality(raw string, to *balancer.Locality) bool {
	w := wire{rest: raw}
	for w.next() {
		switch w.field {
		case 1:
			to.Region = strings.Clone(w.text())
		case 2:
			to.Zone = strings.Clone(w.text())
		case 3:
			to.SubZone = strings.Clone(w.text())
		default:
			return false
		}
	}
	return !w.bad
}

// endpoint reads an LbEndpoint.
func (s *assignmentScan) endpoint(raw string, to *balancer.EndpointConfig) bool {
	w := wire{rest: raw}
	for w.next() {
		switch w.field {
		case 1: // endpoint
			if !scanEndpoint(w.bytes(), to) {
				return false
			}
		case 2: // health_status
			var err error
			if to.Health, err = health(corev3.HealthStatus(w.uint32())); err != nil {
				return false
			}
		case 3: // metadata
			if !s.metadata(w.bytes(), to) {
				return false
			}
		case 4: // load_balancing_weight
			if to.Weight = w.uint32Value(); to.Weight == 0 {
				return false
			}
		default:
			return false
		}
	}
	return !w.bad && to.Address != ""
}

func scanEndpoint(raw string, to *balancer.EndpointConfig) bool {
	w := wire{rest: raw}
	for w.next() {
		switch w.field {
		case 1: // address
			a := wire{rest: w.bytes()}
			for a.next() {
				if a.field != 1 { // socket_address
					return false
				}
				if to.Address = scanSocketAddress(a.bytes()); to.Address == "" {
					return false
				}
			}
			if a.bad {
				return false
			}
		case 3: // hostname
			to.Hostname = strings.Clone(w.text())
		case 4: // additional_addresses
			w.repeated()
			a := scanAdditionalAddress(w.bytes())
			if a == "" {
				return false
			}
			if to.Via == nil {
				to.Via = &balancer.Via{}
			}
			to.Via.Addresses = append(to.Via.Addresses, a)
		default:
			return false
		}
	}
	return !w.bad
}

// scanSocketAddress returns the empty string if it gives up.
func scanSocketAddress(raw string) string {
	var host string
	var port uint32
	w := wire{rest: raw}
	for w.next() {
		switch w.field {
		case 2: // address
			host = w.text()
		case 3: // port_value
			port = w.uint32()
		default:
			return ""
		}
	}
	ip, err := netip.ParseAddr(host)
	if w.bad || err != nil || port == 0 || port > math.MaxUint16 {
		return ""
	}
	return ipPort(ip, host, port)
}

// metadata reads an endpoint's Metadata, of which two filters matter.
func (s *assignmentScan) metadata(raw string, to *balancer.EndpointConfig) bool {
	w := wire{rest: raw}
	for w.next() {
		if w.field != 1 { // filter_metadata
			return false
		}
		w.repeated()
		var key, value string
		entry := wire{rest: w.bytes()}
		for entry.next() {
			switch entry.field {
			case 1:
				key = entry.text()
			case 2:
				value = entry.bytes()
			default:
				return false
			}
		}
		if entry.bad {
			return false
		}
		labels, ok := s.labelsOf(value)
		if !ok {
			return false
		}
		switch key { // a later entry of the key takes the place of an earlier one
		case labelsKey:
			to.Labels = labels.values
		case socketLabelsKey:
			to.SocketLabels = labels.text
		}
	}
	return !w.bad
}

// labelsOf reads a Struct.
func (s *assignmentScan) labelsOf(raw string) (l scannedLabels, ok bool) {
	if l, ok = s.labels[raw]; ok {
		return l, true
	}
	var m structpb.Struct
	if proto.Unmarshal([]byte(raw), &m) != nil {
		return l, false
	}
	l = scannedLabels{values(&m), labels(&m)}
	s.labels[raw] = l
	return l, true
}

// wire reads a message's fields one after the other. What is not of the form that
// scanAssignment is for makes it bad, and ends it.
type wire struct {
	rest  string
	field uint64
	kind  byte
	seen  uint64 // fields, as bits
	bad   bool
}

const (
	kindVarint = 0
	kindBytes  = 2
)

// next goes to the next field.
func (w *wire) next() bool {
	if w.rest == "" || w.bad {
		return false
	}
	tag := w.varint()
	w.field, w.kind = tag>>3, byte(tag&7)
	// One that comes twice would have to be merged.
	if bit := uint64(1) << (w.field & 63); w.field > 63 || w.seen&bit != 0 {
		w.bad = true
	} else {
		w.seen |= bit
	}
	return !w.bad
}

// repeated allows the field to come again.
func (w *wire) repeated() { w.seen &^= 1 << (w.field & 63) }

func (w *wire) varint() uint64 {
	var v uint64
	for i := range min(len(w.rest), 10) {
		b := w.rest[i]
		v |= uint64(b&0x7f) << (7 * i)
		if b < 0x80 {
			w.bad = w.bad || i == 9 && b > 1
			w.rest = w.rest[i+1:]
			return v
		}
	}
	w.bad = true
	return 0
}

// uint32 reads a varint of 32 bits.
func (w *wire) uint32() uint32 {
	if w.kind != kindVarint {
		w.bad = true
		return 0
	}
	v := w.varint()
	if v > math.MaxUint32 {
		w.bad = true
	}
	return uint32(v)
}

// bytes reads a field with a length.
func (w *wire) bytes() string {
	if w.kind != kindBytes {
		w.bad = true
		return ""
	}
	n := w.varint()
	if w.bad || n > uint64(len(w.rest)) {
		w.bad = true
		return ""
	}
	v := w.rest[:n]
	w.rest = w.rest[n:]
	return v
}

// text reads a string. It is a part of the whole message: to keep it, clone it.
func (w *wire) text() string {
	v := w.bytes()
	if !utf8.ValidString(v) {
		w.bad = true
	}
	return v
}

// uint32Value reads a google.protobuf.UInt32Value.
func (w *wire) uint32Value() (v uint32) {
	m := wire{rest: w.bytes()}
	for m.next() {
		if m.field != 1 {
			w.bad = true
			return 0
		}
		v = m.uint32()
	}
	w.bad = w.bad || m.bad
	return v
}

func (w *wire) skip() {
	if w.kind == kindVarint {
		w.varint()
		return
	}
	w.bytes()
}
