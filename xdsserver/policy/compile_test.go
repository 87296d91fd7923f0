package policy

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
)

// TestCompileGolden holds the resources of each policy under testdata against
// the file of its name; -update writes them.
func TestCompileGolden(t *testing.T) {
	files, err := filepath.Glob("testdata/compile/*.yaml")
	if err != nil || len(files) < 6 {
		t.Fatal("policies are missing:", files, err)
	}
	for _, file := range append(files, "testdata/shop.yaml") {
		t.Run(filepath.Base(file), func(t *testing.T) {
			p, err := Load(file)
			if err != nil {
				t.Fatal(err)
			}
			resources, err := p.Compile()
			if err != nil {
				t.Fatal(err)
			}
			got := text(t, resources)
			golden := strings.TrimSuffix(file, ".yaml") + ".golden.json"
			if *update {
				if err := os.WriteFile(golden, got, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), string(got)); diff != "" {
				t.Errorf("resources (-want +got):\n%s", diff)
			}
		})
	}
}

// text is the resources as JSON, type by type and name by name.
func text(t *testing.T, resources *Resources) []byte {
	t.Helper()
	var list []json.RawMessage
	for res := range resources.All() {
		loose, err := protojson.Marshal(res.Body)
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, loose)
	}
	var compact bytes.Buffer // protojson varies its spaces, so that nobody relies on them
	for i, raw := range list {
		if i > 0 {
			compact.WriteByte(',')
		}
		if err := json.Compact(&compact, raw); err != nil {
			t.Fatal(err)
		}
	}
	var out bytes.Buffer
	if err := json.Indent(&out, []byte("["+compact.String()+"]"), "", " "); err != nil {
		t.Fatal(err)
	}
	return append(out.Bytes(), '\n')
}

func TestCompileIsDeterministic(t *testing.T) {
	data, err := os.ReadFile("testdata/shop.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var first *Resources
	for range 20 {
		p, err := Parse("shop.yaml", data)
		if err != nil {
			t.Fatal(err)
		}
		resources, err := p.Compile()
		if err != nil {
			t.Fatal(err)
		}
		if first == nil {
			first = resources
		}
		changed, removed := resources.Diff(first)
		if len(changed)+len(removed) > 0 || resources.Version() != first.Version() {
			t.Fatalf("compiled again, %d resources differ: version %s, then %s", len(changed)+len(removed), first.Version(), resources.Version())
		}
	}
}

// TestCompileIsLocal: the change of one endpoint changes one resource.
func TestCompileIsLocal(t *testing.T) {
	compile := func(address string) *Resources {
		p := &Policy{Services: map[string]*Service{
			"a": {Endpoints: []*Endpoint{{Address: address}}},
			"b": {Endpoints: []*Endpoint{{Address: "192.0.2.9:1"}}},
		}}
		resources, err := p.Compile()
		if err != nil {
			t.Fatal(err)
		}
		return resources
	}
	before, after := compile("192.0.2.1:1"), compile("192.0.2.2:1")
	changed, removed := after.Diff(before)
	if len(removed) != 0 || len(changed) != 1 || changed[0].TypeURL != EndpointType || changed[0].Name != "a" {
		t.Errorf("changed %v, removed %v", changed, removed)
	}
	if before.Version() == after.Version() {
		t.Error("the version of all stayed")
	}
}

// TestCompileBuiltPolicy: a program's own policy is validated, and errors say
// where by path.
func TestCompileBuiltPolicy(t *testing.T) {
	for _, test := range []struct {
		policy Policy
		want   string
	}{
		{Policy{Services: map[string]*Service{"a": nil}}, `services.a: nil`},
		{Policy{Services: map[string]*Service{"a": {Endpoints: []*Endpoint{nil}}}}, `services.a.endpoints[0]: nil`},
		{Policy{Routes: map[string][]*Route{"x:1": {nil}}}, `routes["x:1"][0]: nil`},
		{
			Policy{Routes: map[string][]*Route{"x": {{Match: &Match{Headers: map[string]*HeaderMatch{"h": nil}, Query: map[string]*QueryMatch{"q": nil}}}}}},
			"routes.x[0].match.headers.h: nil\nroutes.x[0].match.query.q: nil",
		},
		{Policy{Services: map[string]*Service{"a": {Protocol: "tcp", Endpoints: []*Endpoint{}}}}, `services.a.protocol: "tcp" is not one of grpc, http, http2`},
		{
			Policy{Services: map[string]*Service{"a": {Endpoints: []*Endpoint{{Address: "192.0.2.1:1"}, {Address: "192.0.2.1:1"}}}}},
			`services.a.endpoints[1]: the address 192.0.2.1:1 is listed twice, first at services.a.endpoints[0]`,
		},
		{
			Policy{Services: map[string]*Service{"a": {Endpoints: []*Endpoint{{Address: "192.0.2.1:1", Labels: Labels{"x": "\xff"}}}}}},
			`ClusterLoadAssignment "a": string field contains invalid UTF-8`,
		},
	} {
		resources, err := test.policy.Compile()
		if resources != nil || err == nil || err.Error() != test.want {
			t.Errorf("Compile = %v, %v; want %s", resources, err, test.want)
		}
	}
}

func TestResources(t *testing.T) {
	a := NewResource(ClusterType, "a", []byte("1"))
	b := NewResource(ClusterType, "b", []byte("1"))
	b2 := NewResource(ClusterType, "b", []byte("2"))
	e := NewResource(EndpointType, "a", []byte("1"))
	if a.Version != b.Version || b.Version == b2.Version {
		t.Error("versions are not of the content")
	}
	old, now := NewResources(b, a), NewResources(e, b, b2)
	changed, removed := now.Diff(old)
	if diff := cmp.Diff([]string{"b", "a"}, []string{changed[0].Name, changed[1].Name}); diff != "" || len(changed) != 2 || changed[0] != b2 {
		t.Errorf("changed: %v", changed)
	}
	if len(removed) != 1 || removed[0] != a {
		t.Errorf("removed: %v", removed)
	}
	if got := now.Get(ClusterType, "b"); got != b2 {
		t.Errorf("of two of one name, %v stayed", got)
	}
	if diff := cmp.Diff([]string{ClusterType, EndpointType}, now.Types()); diff != "" {
		t.Error(diff)
	}
	var names []string
	for res := range old.Of(ClusterType) {
		names = append(names, res.Name)
	}
	if diff := cmp.Diff([]string{"a", "b"}, names); diff != "" || old.Len(ClusterType) != 2 {
		t.Error(diff)
	}

	var none *Resources
	if none.Get(ClusterType, "a") != nil || none.Types() != nil || none.Len(ClusterType) != 0 || none.Version() != NewResources().Version() {
		t.Error("nil is not the empty set")
	}
	if changed, removed := old.Diff(none); len(changed) != 2 || removed != nil {
		t.Errorf("against nothing: changed %v, removed %v", changed, removed)
	}
	if changed, removed := none.Diff(old); changed != nil || len(removed) != 2 {
		t.Errorf("nothing against something: changed %v, removed %v", changed, removed)
	}
}

// TestRawResourceIsKept compares what a raw resource said with what comes out.
func TestRawResourceIsKept(t *testing.T) {
	c := &clusterv3.Cluster{Name: "x", AltStatName: "y"}
	p := &Policy{Resources: []proto.Message{c}}
	resources, err := p.Compile()
	if err != nil {
		t.Fatal(err)
	}
	got := new(clusterv3.Cluster)
	if err := resources.Get(ClusterType, "x").Body.UnmarshalTo(got); err != nil || got.GetAltStatName() != "y" {
		t.Errorf("got %v, %v", got, err)
	}
}
