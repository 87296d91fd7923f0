// Package meshtest runs a mesh inside a test: a control plane on loopback, backends
// with switches for their faults, and meshes that follow the one and call the others.
//
//	cp := meshtest.NewControlPlane(t)
//	v1 := meshtest.HTTP(t, handlerV1)
//	cp.Apply(`services: {orders: {protocol: http, endpoints: ["` + v1.Addr + `"]}}`)
//	client := cp.Mesh().HTTPClient()
//
// Everything stops when the test ends. It is for tests only: a [testing.TB] is
// needed for all of it.
package meshtest
