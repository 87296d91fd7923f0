package mesh

// HTTPTargets is how many targets requests alone keep.
func HTTPTargets(m *Mesh) int {
	if targets := m.http.current.Load(); targets != nil {
		return len(*targets)
	}
	return 0
}
