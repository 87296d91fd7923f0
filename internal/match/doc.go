// Package match holds the value matchers that routing and security share.
package match
