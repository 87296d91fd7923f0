package security

import "log/slog"

// ChannelTLS secures the connection to a control plane: the tls channel credentials
// of a bootstrap (gRFC A65). The server's certificate must be for the name or
// address that was dialled, as everywhere but between a mesh's workloads.
type ChannelTLS struct {
	*ClientTLS
	files *FileWatcher // nil without files
}

// NewChannelTLS returns what secures connections with files, which it watches until
// Close. Unlike for a FileWatcher alone, none has to be given: without authorities
// the system's are trusted, without a certificate none is presented. logger may be
// nil for the default one.
func NewChannelTLS(files FileWatcherConfig, logger *slog.Logger) (_ *ChannelTLS, err error) {
	c := &ChannelTLS{}
	policy := ClientTLSConfig{AutoSNI: true, AutoSAN: true}
	if files != (FileWatcherConfig{RefreshInterval: files.RefreshInterval}) {
		if c.files, err = NewFileWatcher(files, logger); err != nil {
			return nil, err
		}
	}
	if files.CertificateFile != "" {
		policy.Identity = c.files
	}
	if files.CACertificateFile != "" {
		policy.Roots = c.files
	} else {
		policy.SystemRoots = true
	}
	if c.ClientTLS, err = NewClientTLS(policy); err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

// Close stops watching the files. Handshakes that need them fail from then on.
func (c *ChannelTLS) Close() error {
	if c.files == nil {
		return nil
	}
	return c.files.Close()
}
