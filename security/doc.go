// Package security secures connections: who this process is, whom it trusts, and
// how a TLS handshake is held to what policy says.
//
// # Whom, and by whose word
//
// Two one-method interfaces give the material. An [IdentitySource] gives the
// certificate that this process presents, with its key as a [crypto.Signer]; a
// [RootSource] gives the [Bundle] of authorities that a peer must chain to. A
// source is asked anew for each handshake, so that a rotated certificate is used
// by the next connection and no open one is disturbed.
//
// [FileWatcher] is both, over PEM files that it reads again when they change: the
// file_watcher certificate provider of gRFC A29. [Providers] holds the instances
// that a bootstrap names, for policy to refer to.
//
// # The handshake
//
// [ClientTLS] is one cluster's policy, made once from a plain [ClientTLSConfig] and
// used for all of its connections. Whatever protos said it, they were read
// elsewhere: nothing here knows xDS. In a handshake it
//
//  1. asks the sources; one that has nothing to give ends it with a [SourceError],
//  2. chooses the server name to send and the protocols to offer,
//  3. verifies the peer: the chain up to the roots, then the subject alternative
//     names. A peer that is not the one asked for ends it with a [PeerError].
//
// [ChannelTLS] is the same for the connection to a control plane. The server's half
// of all this, and authorization, are not here yet.
//
// There is no way back to plaintext from any of these, and no default that trusts
// more than policy said: a ClientTLS without roots refuses to connect unless policy
// asked for the system's roots, and system roots, to which any site on the internet
// chains, are never used without checking a name.
package security
