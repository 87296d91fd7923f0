package bootstrap

import corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"

// Locality is where the process runs, by node.locality; empty if the file does not say.
func (c *Config) Locality() (region, zone, subZone string) {
	l := c.Node.GetLocality()
	return l.GetRegion(), l.GetZone(), l.GetSubZone()
}

// SetLocality makes node.locality what the program knows of it.
func (c *Config) SetLocality(region, zone, subZone string) {
	c.Node.Locality = &corev3.Locality{Region: region, Zone: zone, SubZone: subZone}
}
