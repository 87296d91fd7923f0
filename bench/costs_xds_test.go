//go:build xds

package main

func init() { xdsTargetBounds = []targetBound{{"grpc-go xDS", xdsTargets, 1000, 100, true}} }
