package mesh

import "context"

// Breakers returns the states of the breakers of a target's endpoints by their addresses,
// and those of its clusters by their names.
func Breakers(m *Mesh, target string) map[string]string {
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
	states := map[string]string{}
	for _, c := range table.Clusters() {
		if b := c.Breaker(); b != nil {
			states[c.Name()] = b.State().String()
		}
		for _, e := range c.Endpoints() {
			if b := e.Breaker(); b != nil {
				states[e.Address()] = b.State().String()
			}
		}
	}
	return states
}
