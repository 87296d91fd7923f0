package mesh

import "context"

// InFlight is how much of what is limited the clusters of a target have: calls, retries,
// connections, and calls that wait for one.
func InFlight(m *Mesh, target string) (n int64) {
	name, err := m.names.parse(target)
	if err != nil {
		panic(err)
	}
	t := m.resolver.Target(name.resource)
	defer t.Release()
	table, err := t.Await(context.Background())
	if err != nil {
		panic(err)
	}
	for _, c := range table.Clusters() {
		for _, u := range c.Limits().Usage() {
			n += u.InFlight
		}
	}
	return n
}
