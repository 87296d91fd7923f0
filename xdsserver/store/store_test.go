package store

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"unsafe"

	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/weft-mesh/weft/internal/testleak"
)

func TestMain(m *testing.M) { testleak.Main(m) }

// entries makes entries of "type/name=content" texts.
func entries(texts ...string) []Entry {
	var list []Entry
	for _, text := range texts {
		typ, rest, _ := strings.Cut(text, "/")
		name, content, _ := strings.Cut(rest, "=")
		list = append(list, Entry{TypeURL: typ, Name: name, Body: &anypb.Any{TypeUrl: typ, Value: []byte(content)}})
	}
	return list
}

func apply(t testing.TB, s *Store, texts ...string) Change {
	t.Helper()
	change, err := s.Apply(entries(texts...))
	if err != nil {
		t.Fatal(err)
	}
	return change
}

func TestApplyTellsWhatChanged(t *testing.T) {
	s := New()
	if s.Current() != nil {
		t.Error("a new store has a set")
	}
	for i, step := range []struct {
		texts []string
		want  Change
	}{
		{[]string{"T/b=1", "T/a=1", "U/a=1"}, Change{"T": {Added: []string{"a", "b"}}, "U": {Added: []string{"a"}}}},
		{[]string{"T/a=1", "T/b=1", "U/a=1"}, Change{}},
		{[]string{"T/a=2", "T/c=1", "U/a=1"}, Change{"T": {Added: []string{"c"}, Changed: []string{"a"}, Removed: []string{"b"}}}},
		{[]string{"T/a=2", "T/c=1"}, Change{"U": {Removed: []string{"a"}}}},
		{nil, Change{"T": {Removed: []string{"a", "c"}}}},
	} {
		got := apply(t, s, step.texts...)
		if diff := cmp.Diff(step.want, got); diff != "" {
			t.Errorf("step %d (-want +got):\n%s", i, diff)
		}
	}
	added, changed, removed := Change{"T": {Added: []string{"a"}, Changed: []string{"b", "c"}}, "U": {Removed: []string{"d"}}}.Count()
	if added != 1 || changed != 2 || removed != 1 {
		t.Errorf("counts %d, %d, %d", added, changed, removed)
	}
}

func TestResourceIsEncodedForBothProtocols(t *testing.T) {
	s := New()
	apply(t, s, "T/a=content")
	r := s.Current().Table("T").Get("a")

	var delta discovery.DeltaDiscoveryResponse
	if err := proto.Unmarshal(r.Delta().ReadOnlyData(), &delta); err != nil {
		t.Fatal(err)
	}
	got := delta.GetResources()[0]
	if got.GetName() != "a" || got.GetVersion() != r.Version() || got.GetVersion() == "" || string(got.GetResource().GetValue()) != "content" {
		t.Errorf("delta: %v", got)
	}
	var sotw discovery.DiscoveryResponse
	if err := proto.Unmarshal(r.SotW().ReadOnlyData(), &sotw); err != nil {
		t.Fatal(err)
	}
	if got := sotw.GetResources()[0]; got.GetTypeUrl() != "T" || string(got.GetValue()) != "content" {
		t.Errorf("state of the world: %v", got)
	}
	if r.Size(true) != len(r.Delta().ReadOnlyData()) || r.Size(false) != len(r.SotW().ReadOnlyData()) {
		t.Errorf("sizes %d, %d", r.Size(true), r.Size(false))
	}
}

func TestWhatDidNotChangeIsKept(t *testing.T) {
	s := New()
	apply(t, s, "T/a=1", "T/b=1", "U/a=1")
	old := s.Current()
	apply(t, s, "T/a=1", "T/b=2", "U/a=1")
	set := s.Current()
	if old.Table("T").Get("a") != set.Table("T").Get("a") {
		t.Error("a resource that did not change was encoded again")
	}
	if old.Table("U") != set.Table("U") {
		t.Error("a table that did not change was made again")
	}
	if old.Table("T").Get("b") == set.Table("T").Get("b") {
		t.Error("a resource that changed is the old one")
	}
}

func TestVersionsComeFromContent(t *testing.T) {
	a, b, c := New(), New(), New()
	apply(t, a, "T/a=1", "T/b=1", "U/a=1")
	apply(t, b, "U/a=1", "T/b=0")
	apply(t, b, "U/a=1", "T/b=1", "T/a=1")
	apply(t, c, "T/a=1", "T/b=1", "U/a=2")
	if a.Current().Version() != b.Current().Version() || a.Current().Version() == c.Current().Version() {
		t.Errorf("versions %q, %q, %q", a.Current().Version(), b.Current().Version(), c.Current().Version())
	}
	all := a.Current().Table("T").All()
	if got := a.Current().Table("T").Version(); got != b.Current().Table("T").Version() || got != VersionOf(all) || got == VersionOf(all[:1]) {
		t.Errorf("table version %q", got)
	}
	empty := New()
	apply(t, empty)
	if empty.Current() == nil || empty.Current().Version() == "" || empty.Current().Version() == a.Current().Version() {
		t.Error("an empty set has to have a version of its own")
	}
}

func TestGivenVersionIsKept(t *testing.T) {
	s := New()
	e := entries("T/a=1")
	e[0].Version = "v7"
	if _, err := s.Apply(e); err != nil {
		t.Fatal(err)
	}
	if got := s.Current().Table("T").Get("a").Version(); got != "v7" {
		t.Errorf("version %q", got)
	}
	e[0].Version = "v8"
	if change, _ := s.Apply(e); len(change["T"].Changed) != 1 {
		t.Errorf("a new version changed %v", change)
	}
}

func TestApplyRefuses(t *testing.T) {
	s := New()
	apply(t, s, "T/a=1")
	for name, bad := range map[string][]Entry{
		"no type":     {{Name: "a", Body: &anypb.Any{}}},
		"no name":     {{TypeURL: "T", Body: &anypb.Any{}}},
		"wildcard":    {{TypeURL: "T", Name: "*", Body: &anypb.Any{}}},
		"no body":     {{TypeURL: "T", Name: "a"}},
		"bad name":    {{TypeURL: "T", Name: "\xff", Body: &anypb.Any{}}},
		"bad version": {{TypeURL: "T", Name: "b", Version: "\xff", Body: &anypb.Any{}}},
		"bad body":    {{TypeURL: "T", Name: "b", Body: &anypb.Any{TypeUrl: "\xff"}}},
		"twice":       entries("T/a=1", "T/a=2"),
	} {
		if _, err := s.Apply(bad); err == nil {
			t.Errorf("%s: applied", name)
		}
	}
	if s.Current().Table("T").Get("a") == nil {
		t.Error("a refused set replaced the good one")
	}
}

// taken returns what a subscriber takes, as "T: a b" or "T: all".
func taken(sub *Subscriber) string {
	dirty, _ := sub.Take()
	var parts []string
	for _, d := range dirty {
		text := "all"
		if !d.All {
			text = strings.Join(d.Names, " ")
		}
		parts = append(parts, d.TypeURL+": "+text)
	}
	return strings.Join(parts, "; ")
}

func woken(sub *Subscriber) bool {
	select {
	case <-sub.Wake():
		return true
	default:
		return false
	}
}

func expectTaken(t *testing.T, sub *Subscriber, want string) {
	t.Helper()
	if got := woken(sub); got != (want != "") {
		t.Errorf("woken: %t", got)
	}
	if got := taken(sub); got != want {
		t.Errorf("took %q, want %q", got, want)
	}
}

func TestSubscriberIsToldOfWhatItWants(t *testing.T) {
	s := New()
	apply(t, s, "T/a=1", "T/b=1", "U/a=1")
	sub := s.Subscriber()
	sub.Subscribe("T", []string{"a", "late"})
	expectTaken(t, sub, "")
	apply(t, s, "T/a=2", "T/b=2", "U/a=2")
	expectTaken(t, sub, "T: a")
	apply(t, s, "T/late=1", "U/a=2")
	expectTaken(t, sub, "T: late a")
	sub.Unsubscribe("T", []string{"a", "never"})
	apply(t, s, "T/a=3", "T/late=2")
	expectTaken(t, sub, "T: late")
	sub.SetWildcard("U", true)
	apply(t, s, "T/a=4", "T/late=2", "U/x=1")
	expectTaken(t, sub, "U: x")
	sub.SetWildcard("U", false)
	apply(t, s, "U/x=2")
	expectTaken(t, sub, "T: late")
	sub.Unsubscribe("T", []string{"late"})
	sub.Close()
	if s.Watched() {
		t.Error("a closed subscriber is still in the store")
	}
}

func TestDirtyNamesAreBounded(t *testing.T) {
	s := New()
	sub := s.Subscriber()
	sub.SetWildcard("T", true)
	var texts []string
	for i := range maxDirtyNames {
		texts = append(texts, fmt.Sprintf("T/%d=1", i))
	}
	apply(t, s, texts...)
	dirty, _ := sub.Take()
	if dirty[0].All || len(dirty[0].Names) != maxDirtyNames {
		t.Errorf("%d names, all: %t", len(dirty[0].Names), dirty[0].All)
	}
	apply(t, s)
	apply(t, s, "T/x=1")
	apply(t, s)
	if got := taken(sub); got != "T: all" {
		t.Errorf("took %q", got)
	}
}

func TestFirstApplyWakesEveryone(t *testing.T) {
	s := New()
	sub := s.Subscriber()
	sub.Subscribe("T", []string{"missing"})
	apply(t, s, "T/a=1")
	if !woken(sub) {
		t.Error("not woken")
	}
	apply(t, s, "T/a=2")
	if woken(sub) {
		t.Error("woken by what it does not want")
	}
}

func TestNamesAreShared(t *testing.T) {
	s := New()
	a, b := s.Subscriber(), s.Subscriber()
	first, second := []string{strings.Clone("name")}, []string{strings.Clone("name")}
	a.Subscribe("T", first)
	b.Subscribe("T", second)
	if unsafeString(first[0]) != unsafeString(second[0]) {
		t.Error("two subscribers hold two copies of a name")
	}
}

// Subscribers come and go in any order, and everyone who is there is told.
func TestAudience(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 1))
	s := New()
	subs := make(map[*Subscriber]bool)
	for range 40 {
		subs[s.Subscriber()] = false
	}
	for i := range 200 {
		for sub, subscribed := range subs { // in map order
			if rnd.IntN(3) > 0 {
				continue
			}
			if subs[sub] = !subscribed; subscribed {
				sub.Unsubscribe("T", []string{"a"})
			} else {
				sub.Subscribe("T", []string{"a"})
				sub.Subscribe("T", []string{"a"}) // twice is once
			}
		}
		apply(t, s, fmt.Sprintf("T/a=%d", i))
		for sub, subscribed := range subs {
			if got := taken(sub); (got == "T: a") != subscribed {
				t.Fatalf("subscribed: %t, took %q", subscribed, got)
			}
		}
	}
}

// What Take promises: a name that is not dirty has not changed since the Take before.
func TestTakeIsConsistent(t *testing.T) {
	s := New()
	apply(t, s)
	var busy sync.WaitGroup
	for i := range 3 {
		busy.Go(func() {
			sub := s.Subscriber()
			defer sub.Close()
			sub.SetWildcard("T", true)
			defer sub.SetWildcard("T", false)
			_, before := sub.Take()
			for range 300 * (i + 1) {
				dirty, set := sub.Take()
				changed := compare(before, set)["T"]
				before = set
				if len(dirty) > 0 && dirty[0].All {
					continue
				}
				told := map[string]bool{}
				for _, d := range dirty {
					for _, name := range d.Names {
						told[name] = true
					}
				}
				for _, names := range [][]string{changed.Added, changed.Changed, changed.Removed} {
					for _, name := range names {
						if !told[name] {
							t.Errorf("%s changed and was not dirty", name)
							return
						}
					}
				}
			}
		})
	}
	busy.Go(func() {
		for i := range 500 {
			apply(t, s, fmt.Sprintf("T/%d=%d", i%7, i), fmt.Sprintf("T/x=%d", i/2))
		}
	})
	busy.Wait()
}

// One of 10,000 resources changes, and 1,000 subscribers want it.
func BenchmarkApply(b *testing.B) {
	s := New()
	var texts []string
	var names []string
	for i := range 10_000 {
		names = append(names, fmt.Sprintf("service-%05d", i))
		texts = append(texts, fmt.Sprintf("T/%s=%0400d", names[i], i))
	}
	list := entries(texts...)
	for i := range list {
		list[i].Version = "1"
	}
	for range 1000 {
		s.Subscriber().Subscribe("T", names[:100])
	}
	n := 0
	b.ReportAllocs()
	for b.Loop() {
		n++
		list[n%100].Version = fmt.Sprint(n)
		if _, err := s.Apply(list); err != nil {
			b.Fatal(err)
		}
		for sub := range s.subs {
			sub.Take()
		}
	}
}

func unsafeString(s string) *byte { return unsafe.StringData(s) }
