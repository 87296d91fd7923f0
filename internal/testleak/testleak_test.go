package testleak

import (
	"testing"
	"time"
)

// TestAwait has a goroutine end late, and one not end.
func TestAwait(t *testing.T) {
	end := make(chan struct{})
	go func() { <-end }()
	if await(time.Now()) == nil {
		t.Error("a goroutine that is left was not found")
	}
	time.AfterFunc(700*time.Millisecond, func() { close(end) }) // goleak itself gives it some 430
	if err := await(time.Now().Add(time.Minute)); err != nil {
		t.Error(err)
	}
}
