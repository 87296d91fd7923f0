package policy

import (
	"bytes"
	"encoding/json"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
	"google.golang.org/protobuf/proto"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
)

// resourceTypes makes an empty resource of each type that a policy may hold.
var resourceTypes = map[string]func() proto.Message{
	ListenerType:  func() proto.Message { return new(listenerv3.Listener) },
	RouteType:     func() proto.Message { return new(routev3.RouteConfiguration) },
	ClusterType:   func() proto.Message { return new(clusterv3.Cluster) },
	EndpointType:  func() proto.Message { return new(endpointv3.ClusterLoadAssignment) },
	SecretType:    func() proto.Message { return new(tlsv3.Secret) },
	ExtensionType: func() proto.Message { return new(corev3.TypedExtensionConfig) },
}

// resourceName is the type URL and the name of a resource; ok is false for a
// message that is none.
func resourceName(m proto.Message) (typeURL, name string, ok bool) {
	switch m := m.(type) {
	case *listenerv3.Listener:
		return ListenerType, m.GetName(), true
	case *routev3.RouteConfiguration:
		return RouteType, m.GetName(), true
	case *clusterv3.Cluster:
		return ClusterType, m.GetName(), true
	case *endpointv3.ClusterLoadAssignment:
		return EndpointType, m.GetClusterName(), true
	case *tlsv3.Secret:
		return SecretType, m.GetName(), true
	case *corev3.TypedExtensionConfig:
		return ExtensionType, m.GetName(), true
	default:
		return "", "", false
	}
}

// shortType is a type URL for people: Cluster.
func shortType(typeURL string) string { return typeURL[strings.LastIndexByte(typeURL, '.')+1:] }

// message reads a raw resource.
func (d *decoder) message(n *yaml.Node, p path) proto.Message {
	typeURL, typeNode, rest := d.typedNode(n, p, ClusterType)
	if typeNode == nil {
		return nil
	}
	create := resourceTypes[typeURL]
	if create == nil {
		d.errorf(typeNode, p.field("@type"), "%q is not the type of a resource", shorten(typeURL)).
			Suggestion = nearest(typeURL, maps.Keys(resourceTypes))
		return nil
	}
	m := create()
	if !d.protoJSON(n, rest, p, typeURL, m) {
		return nil
	}
	return m
}

// jsonWriter writes YAML nodes as JSON, each value and each name on a line of its own.
type jsonWriter struct {
	*decoder
	buf   bytes.Buffer
	lines []*yaml.Node // the node on each line
}

func (w *jsonWriter) line(n *yaml.Node, text string) {
	w.buf.WriteString(text)
	w.buf.WriteByte('\n')
	w.lines = append(w.lines, n)
}

func (w *jsonWriter) node(n *yaml.Node, p path) {
	n, leave, ok := w.enter(n, p)
	if !ok {
		return
	}
	defer leave()
	switch n.Kind {
	case yaml.MappingNode:
		w.line(n, "{")
		seen := make(map[string]*yaml.Node)
		for key, value := range w.entries(n, p, "a mapping") {
			if first := seen[key.Value]; first != nil {
				w.errorf(key, p, "field %q is given twice, first at %s", key.Value, w.at(first))
				continue
			}
			if len(seen) > 0 {
				w.line(key, ",")
			}
			seen[key.Value] = key
			w.line(key, quoteJSON(key.Value)+":")
			w.node(value, p)
		}
		w.line(n, "}")
	case yaml.SequenceNode:
		w.line(n, "[")
		for i, item := range n.Content {
			if i > 0 {
				w.line(item, ",")
			}
			w.node(item, p)
		}
		w.line(n, "]")
	default:
		w.scalar(n, p)
	}
}

// scalar writes text, numbers and the like as JSON has them. A date is text to
// JSON, and so is what YAML calls binary.
func (w *jsonWriter) scalar(n *yaml.Node, p path) {
	switch tag := n.ShortTag(); tag {
	case "!!null":
		w.line(n, "null")
	case "!!bool", "!!int", "!!float":
		var v any
		err := n.Decode(&v)
		text, jsonErr := json.Marshal(v)
		if err != nil || jsonErr != nil { // such as .inf
			w.errorf(n, p, "want a value that JSON knows, not %s", describe(n))
			return
		}
		w.line(n, string(text))
	case "!!str", "!!timestamp", "!!binary":
		w.line(n, quoteJSON(n.Value))
	default:
		w.errorf(n, p, "want a value that JSON knows, not %s", describe(n))
	}
}

func quoteJSON(s string) string {
	text, _ := json.Marshal(s) //nolint:errchkjson // a string can always be marshalled
	return string(text)
}

var jsonPosition = regexp.MustCompile(`\(line (\d+):\d+\)[: ]*`)

// explain finds the node that an error of the protobuf library is about, and says
// what is wrong without the library's own position and prefix.
func (w *jsonWriter) explain(err error, fallback *yaml.Node) (*yaml.Node, string) {
	msg := strings.TrimLeft(strings.TrimPrefix(err.Error(), "proto:"), " \u00a0")
	at := fallback
	if m := jsonPosition.FindStringSubmatch(msg); m != nil {
		if line, err := strconv.Atoi(m[1]); err == nil && line >= 1 && line <= len(w.lines) {
			at = w.lines[line-1]
		}
		msg = strings.Replace(msg, m[0], "", 1)
	}
	if strings.Contains(msg, "unable to resolve") {
		msg += "; this program has no such type built in"
	}
	return at, msg
}

// sortedResourceTypes are the type URLs of resourceTypes.
func sortedResourceTypes() []string { return slices.Sorted(maps.Keys(resourceTypes)) }
