// Package resilience will hold what happens around an attempt, for gRPC and HTTP
// alike: deadlines, retries and their budget, hedging, breakers, limits and fault
// injection. It will know no protocol: whoever makes the attempts tells it how each
// went. It is empty so far; nothing of this is acted on yet.
package resilience
