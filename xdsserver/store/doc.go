// Package store holds the resources that a control plane serves, and knows which
// stream wants which of them.
//
// Three types carry it:
//
//   - [Set] is what there is to serve at one moment: a [Table] per type, each of
//     them a sorted, immutable list of [Resource] values. A resource is encoded
//     once, when it first appears; whoever sends it sends those shared bytes.
//   - [Store] publishes one Set after the other and keeps the reverse index from a
//     resource's name to those who subscribed to it.
//   - [Subscriber] is one stream's place in that index. It collects what became
//     dirty for the stream since the stream last looked, and nothing else: no
//     queue of updates, so a stream that is slow costs no more memory than one that
//     is quick, and gets the newest state when it is ready.
//
// Data passes like this:
//
//	Apply ─▶ new Set ─▶ compare with the old ─▶ index: who wants these names ─▶ Subscriber: dirty, wake
//	                                                                                   │
//	stream ◀───────────── names that may have changed, and the newest Set ◀── Take ────┘
//
// A dirty name is a hint to look again, not an update: the stream compares what
// it sent with what the Set holds. That makes the newest state win, makes a change
// that was taken back cost nothing, and lets a Subscriber whose list of dirty names
// grows long forget the list and say "look at everything".
//
// Apply calls nobody back: it marks and wakes, and no lock is held while anything
// is sent.
package store
