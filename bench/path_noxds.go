//go:build !xds

package main

import "google.golang.org/grpc"

const xdsPeer = ""

func xdsPaths(func(*grpc.ClientConn) client, ...int) []path { return nil }
