// Package ratelimit holds Weft's rate limit filter to what a real rate limit service does:
// github.com/envoyproxy/ratelimit, in the process of the test, with a Redis in the same
// process to count in. It is a module of its own because of all that the service needs.
package ratelimit
