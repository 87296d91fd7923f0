package resolver

// followLocal watches the cluster that the process is one of. It runs on the resolver's
// goroutine. When the cluster goes away, what was known of it stays.
func (r *Resolver) followLocal() {
	node := r.nodes([]string{r.config.LocalCluster})[0]
	node.local = true
	r.config.Local.Follow(node.cluster)
}
