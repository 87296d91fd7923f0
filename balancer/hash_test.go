package balancer

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"sort"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cespare/xxhash/v2"
)

// The oracles below are Envoy's published algorithms written down as plainly as they
// are described, with no regard to cost, and share nothing with the package but XXH64.

// oracleHost is a host with its weight as a share of one.
type oracleHost struct {
	key, address string
	share        float64
}

// ringOracle is RingHashLbConfig: every host has ceil(min share × minimum size) / min
// share × its share points at XXH64(key_i); a hash belongs to the first point at or
// after it.
func ringOracle(hosts []oracleHost, smallest, largest float64) func(uint64) string {
	least := 1.0
	for _, h := range hosts {
		least = math.Min(least, h.share)
	}
	scale := math.Min(math.Ceil(least*smallest)/least, largest)
	owner := map[uint64]string{}
	var points []uint64
	current, target := 0.0, 0.0
	for _, h := range hosts {
		part := scale * h.share
		target += part
		for i := 0; current < target; i++ {
			p := xxhash.Sum64String(h.key + "_" + strconv.Itoa(i))
			owner[p] = h.address
			points = append(points, p)
			current++
		}
	}
	slices.Sort(points)
	return func(hash uint64) string {
		i := sort.Search(len(points), func(i int) bool { return points[i] >= hash })
		return owner[points[i%len(points)]]
	}
}

// maglevOracle is listing 1 of the Maglev paper (Eisenbud et al., 2016), with Envoy's
// weights: a host has a turn in a round when round × share has reached its target,
// which each turn raises by the greatest share.
func maglevOracle(hosts []oracleHost, size uint64) func(uint64) string {
	hosts = slices.Clone(hosts)
	sort.Slice(hosts, func(i, j int) bool { return hosts[i].key < hosts[j].key })
	permutation := make([][]uint64, len(hosts))
	greatest := 0.0
	for i, h := range hosts {
		seeded := xxhash.NewWithSeed(1)
		_, _ = seeded.WriteString(h.key)
		offset, skip := xxhash.Sum64String(h.key)%size, seeded.Sum64()%(size-1)+1
		for j := range size {
			permutation[i] = append(permutation[i], (offset+j*skip)%size)
		}
		greatest = math.Max(greatest, h.share)
	}
	entry := make([]string, size)
	next := make([]int, len(hosts))
	target := make([]float64, len(hosts))
	for filled, round := uint64(0), 1; filled < size; round++ {
		for i, h := range hosts {
			if filled == size {
				break
			}
			if float64(round)*h.share < target[i] {
				continue
			}
			target[i] += greatest
			c := permutation[i][next[i]]
			for entry[c] != "" {
				next[i]++
				c = permutation[i][next[i]]
			}
			entry[c] = h.address
			next[i]++
			filled++
		}
	}
	return func(hash uint64) string { return entry[hash%size] }
}

// hashRig is a cluster under a hash policy, seen by HTTP.
func hashRig(t *testing.T, config *Config, a *Assignment) *rig {
	return newRig(t, httpView, config, a)
}

func (r *rig) pickHash(hash uint64) string {
	r.Helper()
	l, err := r.view.Pick(PickInfo{Hash: hash, HasHash: true})
	if err != nil {
		r.Fatalf("Pick: %v", err)
	}
	l.Done(Outcome{})
	return l.Endpoint().Address()
}

func TestHashAgreesWithEnvoy(t *testing.T) {
	shares := func(list []EndpointConfig, part float64) (hosts []oracleHost) {
		var total uint32
		for _, e := range list {
			total += max(1, e.Weight)
		}
		for _, e := range list {
			hosts = append(hosts, oracleHost{e.Address, e.Address, float64(max(1, e.Weight)) * part / float64(total)})
		}
		return hosts
	}
	keyed := weigh(1, 1, 1)
	keyed[1].Labels = map[string]Value{"hash_key": Text("stateful-1")}
	keyed[2].Hostname = "host-2"
	keyedHosts := shares(keyed, 1)
	keyedHosts[1].key, keyedHosts[2].key = "stateful-1", "host-2"
	heavy := addresses("e", 30)
	heavy[17].Weight, heavy[3].Weight = 5000, 77
	x, y := weigh(1, 2), addresses("y", 3)
	for _, test := range []struct {
		name   string
		assign *Assignment
		hosts  []oracleHost
		config Config
	}{
		{"even", one(addresses("10.0.0.", 7)...), shares(addresses("10.0.0.", 7), 1), Config{}},
		{"one", one(at("10.0.0.1:80")), shares([]EndpointConfig{at("10.0.0.1:80")}, 1), Config{}},
		{"weighted", one(weigh(1, 5, 3, 100)...), shares(weigh(1, 5, 3, 100), 1), Config{}},
		{"one outweighs the others", one(heavy...), shares(heavy, 1), Config{Policy: Policy{MaxRingSize: 5000, TableSize: 5003}}},
		{"sizes", one(weigh(1, 5, 3)...), shares(weigh(1, 5, 3), 1), Config{Policy: Policy{MinRingSize: 100, MaxRingSize: 111, TableSize: 101}}},
		{"more hosts than points", one(addresses("e", 50)...), shares(addresses("e", 50), 1), Config{Policy: Policy{MinRingSize: 7, MaxRingSize: 11, TableSize: 53}}},
		{"keys", one(keyed...), keyedHosts, Config{Policy: Policy{HashHostname: true}}},
		// In the order of the localities' names, whatever the assignment's.
		{"localities", &Assignment{Localities: []LocalityEndpoints{
			{Locality: Locality{Region: "y"}, Weight: 3, Endpoints: y}, {Locality: Locality{Region: "x"}, Weight: 1, Endpoints: x},
		}}, append(shares(x, 0.25), shares(y, 0.75)...), Config{LocalityWeighted: true, Policy: Policy{MinRingSize: 1000, MaxRingSize: 1001}}},
	} {
		for _, kind := range []PolicyKind{RingHash, Maglev} {
			t.Run(fmt.Sprint(test.name, kind), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					config := test.config
					config.Policy.Kind = kind
					r := hashRig(t, &config, test.assign)
					p := config.Policy
					oracle := ringOracle(test.hosts, float64(orElse(p.MinRingSize, 1024)), float64(orElse(p.MaxRingSize, 8388608)))
					if kind == Maglev {
						oracle = maglevOracle(test.hosts, orElse(p.TableSize, 65537))
					}
					random := rand.New(rand.NewPCG(1, 2))
					for i := range 20_000 {
						hash := random.Uint64()
						if i < 4 {
							hash = []uint64{0, 1, math.MaxUint64, math.MaxUint64 - 1}[i]
						}
						if got, want := r.pickHash(hash), oracle(hash); got != want {
							t.Fatalf("hash %#x goes to %s, want %s", hash, got, want)
						}
					}
				})
			})
		}
	}
}

func orElse(v, otherwise uint64) uint64 {
	if v == 0 {
		return otherwise
	}
	return v
}

// One endpoint of N that goes takes the keys of its own and few others with it; ring
// and table also spread them evenly enough.
func TestHashIsConsistent(t *testing.T) {
	for _, kind := range []PolicyKind{RingHash, Maglev} {
		synctest.Test(t, func(t *testing.T) {
			const n, keys = 10, 20_000
			all := addresses("e", n)
			r := hashRig(t, &Config{Policy: Policy{Kind: kind}}, one(all...))
			before := make([]string, keys)
			counts := map[string]int{}
			for i := range before {
				before[i] = r.pickHash(xxhash.Sum64String(strconv.Itoa(i)))
				counts[before[i]]++
			}
			for address, count := range counts {
				if share := float64(count) / keys; share < 0.05 || share > 0.17 {
					t.Errorf("policy %d: %s has %.3f of the keys", kind, address, share)
				}
			}
			r.assign(one(all[1:]...))
			moved := 0
			for i, was := range before {
				if now := r.pickHash(xxhash.Sum64String(strconv.Itoa(i))); now != was && was != "e0:1" {
					moved++
				}
			}
			// A ring of fewer endpoints gives each more points, ceil(1024/9) for
			// ceil(1024/10), which take keys from others: at most a tenth.
			if share := float64(moved) / keys; share > 0.1 || kind == Maglev && share > 0.03 {
				t.Errorf("policy %d: %.3f of the keys moved between endpoints that stay", kind, share)
			}
		})
	}
}

// An endpoint that fails hands its keys to others; when it is back they are its own.
func TestHashFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := hashRig(t, &Config{Policy: Policy{Kind: RingHash}, PanicThreshold: 50}, one(addresses("e", 5)...))
		before := map[uint64]string{}
		for hash := range uint64(200) {
			hash *= math.MaxUint64 / 200
			before[hash] = r.pickHash(hash)
		}
		r.report(TransientFailure, errors.New("refused"), "e3:1")
		to := map[string]bool{}
		for hash, was := range before {
			got := r.pickHash(hash)
			switch {
			case got == "e3:1", was != "e3:1" && got != was:
				t.Errorf("hash %#x went to %s, and now to %s", hash, was, got)
			case was == "e3:1":
				to[got] = true
				if again := r.pickHash(hash); again != got {
					t.Errorf("hash %#x goes to %s and %s", hash, got, again)
				}
				// A retry that has tried where it went goes further.
				l, err := r.view.Pick(PickInfo{Hash: hash, HasHash: true, Exclude: []*Endpoint{r.k.conn(t, got).endpoint}})
				if err != nil || l.Endpoint().Address() == got {
					t.Errorf("a retry: %v, %v", l, err)
				}
			}
		}
		if len(to) < 2 {
			t.Errorf("the keys of an endpoint that failed all went to %v", to)
		}
		r.report(Ready, nil, "e3:1")
		for hash, was := range before {
			if got := r.pickHash(hash); got != was {
				t.Errorf("hash %#x went to %s, and now to %s", hash, was, got)
			}
		}
	})
}

// Without a hash picks go anywhere.
func TestHashMissing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := hashRig(t, &Config{Policy: Policy{Kind: Maglev}}, one(addresses("e", 4)...))
		within(t, r.picks(8000), 8000, map[string]float64{"e0:1": .25, "e1:1": .25, "e2:1": .25, "e3:1": .25})
	})
}

// A hash keeps to its priority while the load is divided.
func TestHashPriorities(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := addresses("near", 2), addresses("far", 2)
		near[0].Health = Unhealthy
		r := hashRig(t, &Config{Policy: Policy{Kind: RingHash}}, &Assignment{Overprovisioning: 100, Localities: []LocalityEndpoints{
			{Weight: 1, Endpoints: near}, {Weight: 1, Priority: 1, Endpoints: far},
		}})
		for hash := range uint64(1000) {
			want := hash%100 < 50 // Envoy's choosePriority: hash % 100 + 1 against 50, 100
			if got := r.pickHash(hash); (got == "near1:1") != want {
				t.Errorf("hash %d goes to %s", hash, got)
			}
		}
	})
}

// Under gRPC connections are made when a call's hash asks for them, and the call waits
// (gRFC A42).
func TestHashGRPC(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, ViewOptions{GRPC: true}, &Config{Policy: Policy{Kind: RingHash}}, one(addresses("e", 3)...))
		oracle := ringOracle([]oracleHost{{"e0:1", "e0:1", 1. / 3}, {"e1:1", "e1:1", 1. / 3}, {"e2:1", "e2:1", 1. / 3}}, 1024, 8388608)
		const hash = 12345
		pick := func() error {
			l, err := r.view.Pick(PickInfo{Hash: hash, HasHash: true})
			if err == nil {
				l.Done(Outcome{})
			}
			return err
		}
		if got := r.k.connected(); len(got) != 0 {
			t.Errorf("%v connect before there is a call", got)
		}
		first := oracle(hash)
		for range 2 {
			if err := pick(); !errors.Is(err, ErrConnecting) {
				t.Fatalf("Pick: %v, want ErrConnecting", err)
			}
			if got := r.k.connected(); !slices.Equal(got, []string{first}) {
				t.Fatalf("%v connect, want %s", got, first)
			}
		}
		r.report(Connecting, nil, first)
		if err := pick(); !errors.Is(err, ErrConnecting) {
			t.Fatalf("Pick: %v, want ErrConnecting", err)
		}
		r.report(Ready, nil, first)
		if got := r.pickHash(hash); got != first {
			t.Errorf("the call goes to %s, want %s", got, first)
		}
		// A connection that ended is made again by the next call, not before, however
		// long that takes.
		r.report(Idle, nil, first)
		time.Sleep(2 * failoverTimeout)
		synctest.Wait()
		if err := pick(); !errors.Is(err, ErrConnecting) || r.k.conn(t, first).connects != 2 {
			t.Fatalf("Pick: %v after %d connects", err, r.k.conn(t, first).connects)
		}
		r.report(TransientFailure, errors.New("refused"), first)
		if err := pick(); !errors.Is(err, ErrConnecting) {
			t.Fatalf("Pick: %v, want ErrConnecting", err)
		}
		others := slices.DeleteFunc(r.k.connected(), func(a string) bool { return a == first })
		if len(others) != 1 {
			t.Fatalf("%v connect, want one other", others)
		}
		r.report(Ready, nil, others...)
		if got := r.pickHash(hash); got != others[0] {
			t.Errorf("the call goes to %s, want %s", got, others[0])
		}
		// The link that failed is tried without a call, and gets its keys back.
		r.report(Idle, nil, first)
		if n := r.k.conn(t, first).connects; n != 3 {
			t.Errorf("the endpoint that failed was asked to connect %d times, want 3", n)
		}
		r.report(Ready, nil, first)
		if got := r.pickHash(hash); got != first {
			t.Errorf("the call goes to %s, want %s", got, first)
		}
		// A call without a hash takes what is connected, and has others connect, so
		// that in the end such calls go everywhere (gRFC A76).
		if got := r.picks(50); got[first]+got[others[0]] != 50 || len(r.k.connected()) != 3 {
			t.Errorf("calls without a hash go to %v; connected are %v", got, r.k.connected())
		}
	})
}

func TestHashGRPCUnreachable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, ViewOptions{GRPC: true}, &Config{Policy: Policy{Kind: Maglev, TableSize: 11}}, one(addresses("e", 2)...))
		r.report(TransientFailure, errors.New("refused"), "e0:1", "e1:1")
		if _, err := r.view.Pick(PickInfo{}); !errors.As(err, new(*UnreachableError)) {
			t.Errorf("Pick: %v", err)
		}
	})
}

// What a change of the endpoints costs once it is known, where weights are at their
// worst for it too.
func BenchmarkHashTable(b *testing.B) {
	for _, heaviest := range []float64{1, 10_000} {
		hosts := make([]hashHost, 10_000)
		for i := range hosts {
			hosts[i] = hashHost{fmt.Sprintf("10.0.%d.%d:8080", i/256, i%256), uint32(i), 1 / (9999 + heaviest)}
		}
		hosts[0].weight *= heaviest
		b.Run(fmt.Sprintf("ring_hash/%v", heaviest), func(b *testing.B) {
			for b.Loop() {
				newRing(hosts, DefaultMinRingSize, MaxRingSize)
			}
		})
		b.Run(fmt.Sprintf("maglev/%v", heaviest), func(b *testing.B) {
			for b.Loop() {
				newMaglev(hosts, DefaultMaglevTableSize)
			}
		})
	}
}

// An endpoint that nobody asked for lately is not late: its priority keeps its load.
func TestHashIdleIsAvailable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, ViewOptions{GRPC: true}, &Config{Policy: Policy{Kind: RingHash}}, &Assignment{Localities: []LocalityEndpoints{
			{Weight: 1, Endpoints: addresses("near", 1)}, {Weight: 1, Priority: 1, Endpoints: addresses("far", 1)},
		}})
		r.report(Ready, nil, "near0:1")
		r.report(Idle, nil, "near0:1")
		time.Sleep(2 * failoverTimeout)
		synctest.Wait()
		if _, err := r.view.Pick(PickInfo{Hash: 1, HasHash: true}); !errors.Is(err, ErrConnecting) {
			t.Errorf("Pick: %v, want ErrConnecting", err)
		}
		if got := r.k.connected(); !slices.Equal(got, []string{"near0:1"}) {
			t.Errorf("%v connect, want near0:1", got)
		}
		// If it hangs, it is late, and the next priority stands in.
		r.report(Connecting, nil, "near0:1")
		time.Sleep(2 * failoverTimeout)
		synctest.Wait()
		r.report(Ready, nil, "far0:1")
		if got := r.pickHash(1); got != "far0:1" {
			t.Errorf("the call goes to %s, want far0:1", got)
		}
	})
}
