package policy

import "errors"

// Compile validates the policy and translates it to resources. The same policy
// always gives the same bytes. The error is an [Errors].
func (p *Policy) Compile() (*Resources, error) { return nil, errors.ErrUnsupported }
