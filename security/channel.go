package security

import "log/slog"

// ChannelTLS secures the connection to a control plane: the tls channel credentials
// of a bootstrap (gRFC A65). The server's certificate must be for the name or
// address that was dialled, as everywhere but between a mesh's workloads.
type ChannelTLS struct {
	*ClientTLS
	files *FileWatcher // nil without files
}

// NewChannelTLS reads the credentials' JSON configuration (see
// ParseFileWatcherConfig), which may be empty: then no certificate is presented and
// the system's roots are trusted. Close stops what it starts. logger may be nil for
// the default one.
func NewChannelTLS(config []byte, logger *slog.Logger) (*ChannelTLS, error) {
	files, err := ParseFileWatcherConfig(config)
	if err != nil {
		return nil, err
	}
	c := &ChannelTLS{}
	policy := ClientTLSConfig{AutoSNI: true, AutoSAN: true}
	if files.CertificateFile != "" || files.CACertificateFile != "" {
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
