package xdsserver

import (
	"strconv"
	"time"
)

// acknowledgement is what a client said to the responses of one type. Nonces are
// numbers that grow over a stream, so that one number tells which responses were
// answered, however many are on their way.
type acknowledgement struct {
	sent        uint64 // nonce of the last response; 0 before the first
	sentVersion string

	answered     uint64 // the newest nonce that came back
	ackedVersion string
	rejection    *Rejection // of the newest response, nil if that was accepted
}

// respond notes that a response is about to be sent.
func (a *acknowledgement) respond(nonce uint64, version string) {
	a.sent, a.sentVersion = nonce, version
}

// answer takes the nonce of a request. It returns whether the request answers a
// response that was not answered before, the rejection being nil for an ACK.
func (a *acknowledgement) answer(nonce string, rejection *Rejection) (news bool) {
	n, err := strconv.ParseUint(nonce, 10, 64)
	if err != nil || n <= a.answered || n > a.sent {
		return false
	}
	a.answered, a.rejection = n, rejection
	if rejection == nil && n == a.sent {
		a.ackedVersion = a.sentVersion
	}
	return true
}

// current tells whether nonce is that of the last response.
func (a *acknowledgement) current(nonce string) bool {
	return nonce == strconv.FormatUint(a.sent, 10)
}

// Rejection is a NACK: a client could not use a response and keeps what it had.
type Rejection struct {
	Time time.Time
	// Version is the newest version that had been sent when the rejection came.
	Version string
	// Message is the client's own words, cut to 1,024 bytes.
	Message string
}
