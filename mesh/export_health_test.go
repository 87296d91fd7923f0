package mesh

import (
	"context"
	"slices"
)

// Ejected lists the addresses of a target's endpoints that outlier detection has taken out.
func Ejected(m *Mesh, target string) (list []string) {
	name, err := m.names.parse(target)
	if err != nil {
		panic(err)
	}
	t := m.resolver.Target(name.resource)
	defer t.Release()
	table, err := t.Await(context.Background())
	if err != nil {
		return nil
	}
	for _, c := range table.Clusters() {
		for _, e := range c.Endpoints() {
			if e.Ejected() {
				list = append(list, e.Address())
			}
		}
	}
	slices.Sort(list)
	return list
}
