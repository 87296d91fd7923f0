// Package telemetry will hold what a mesh tells of itself: the OpenTelemetry
// instruments, bound once per table instead of once per call, the access log and the
// tap. It is empty so far; nothing is measured or traced yet.
package telemetry
