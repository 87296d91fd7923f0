package policy

import "context"

// Watch reads the policy at path, a file or a folder as in [Load], whenever its
// content changes, and calls changed with the policy or with what is wrong with it. The
// first call tells how things stand at the start. Watch returns when ctx is done;
// changed is not called after that, nor by two goroutines at once.
//
// A content is reported once, good or bad. After an error the user of Watch keeps
// the policy that it has.
func Watch(ctx context.Context, path string, changed func(*Policy, error)) {}
