package resolver

// bodies are those that filters within a composite filter may want: whether they are asked
// is known only when a request is there.
type bodies struct{ request, response bool }

// Bodies implements filter.BodyFilter.
func (f *composite) Bodies() (request, response bool) { return f.bodies.request, f.bodies.response }

// withBodies is f, knowing which bodies its filters may want.
func (f *composite) withBodies() *composite {
	f.bodies = bodies{}
	f.tree.mapped(func(a *compositeAction) *compositeAction {
		chain := a.chain
		if a.name != "" {
			chain = f.named[a.name]
		}
		request, response := chain.Bodies()
		f.bodies.request, f.bodies.response = f.bodies.request || request, f.bodies.response || response
		return a
	})
	return f
}
