package security

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"
)

// FileWatcherConfig names the files of a FileWatcher. At least one of
// CertificateFile and CACertificateFile is needed.
type FileWatcherConfig struct {
	// CertificateFile is the PEM file of the identity's certificate chain, leaf
	// first; PrivateKeyFile that of its key. Both or neither.
	CertificateFile, PrivateKeyFile string
	// CACertificateFile is the PEM file of the authorities to trust.
	CACertificateFile string
	// RefreshInterval is the time between two looks at the files. Zero means
	// 10 minutes; less than 10 ms means 10 ms.
	RefreshInterval time.Duration
}

// The default of RefreshInterval (gRFC A65), and the least that is heeded.
const (
	defaultRefreshInterval = 10 * time.Minute
	minRefreshInterval     = 10 * time.Millisecond
)

// ParseFileWatcherConfig reads the JSON configuration that a file_watcher
// certificate provider has in the bootstrap (gRFC A29), and the tls channel
// credentials, too (gRFC A65). Fields that are not known are ignored, as in all of
// the bootstrap.
//
// (A65 says that the key and the CA file go together. Its implementations, and
// reason, have the key go with the certificate.)
func ParseFileWatcherConfig(data []byte) (FileWatcherConfig, error) {
	var fields struct {
		CertificateFile   string `json:"certificate_file"`
		PrivateKeyFile    string `json:"private_key_file"`
		CACertificateFile string `json:"ca_certificate_file"`
		RefreshInterval   string `json:"refresh_interval"`
		SPIFFEBundleMap   string `json:"spiffe_trust_bundle_map_file"`
	}
	if len(data) > 0 {
		if err := json.Unmarshal(data, &fields); err != nil {
			return FileWatcherConfig{}, fmt.Errorf("security: certificate files: %w", err)
		}
	}
	if fields.SPIFFEBundleMap != "" {
		// It would narrow whom ca_certificate_file vouches for (gRFC A87).
		return FileWatcherConfig{}, errors.New("security: certificate files: spiffe_trust_bundle_map_file is not supported, and must not be ignored")
	}
	config := FileWatcherConfig{
		CertificateFile:   fields.CertificateFile,
		PrivateKeyFile:    fields.PrivateKeyFile,
		CACertificateFile: fields.CACertificateFile,
	}
	if fields.RefreshInterval != "" {
		interval, err := parseDuration(fields.RefreshInterval)
		if err != nil {
			return FileWatcherConfig{}, fmt.Errorf("security: certificate files: refresh_interval: %w", err)
		}
		config.RefreshInterval = interval
	}
	if err := config.validatePair(); err != nil {
		return FileWatcherConfig{}, err
	}
	return config, nil
}

// parseDuration reads a google.protobuf.Duration's JSON form, such as "1.5s".
func parseDuration(text string) (time.Duration, error) {
	number, ok := strings.CutSuffix(text, "s")
	if !ok || strings.Trim(number, "0123456789.") != "" {
		return 0, fmt.Errorf("%q is not a duration in seconds, such as %q", text, "600s")
	}
	interval, err := time.ParseDuration(text)
	if err != nil {
		return 0, err
	}
	if interval <= 0 {
		return 0, fmt.Errorf("%q is not a positive duration", text)
	}
	return interval, nil
}

func (c *FileWatcherConfig) validatePair() error {
	if (c.CertificateFile == "") != (c.PrivateKeyFile == "") {
		return errors.New("security: certificate files: certificate_file and private_key_file go together, but only one is set")
	}
	return nil
}

func (c *FileWatcherConfig) validate() error {
	if err := c.validatePair(); err != nil {
		return err
	}
	if c.CertificateFile == "" && c.CACertificateFile == "" {
		return errors.New("security: certificate files: neither certificate_file nor ca_certificate_file is set")
	}
	if c.RefreshInterval < 0 {
		return fmt.Errorf("security: certificate files: refresh interval %v is negative", c.RefreshInterval)
	}
	return nil
}

func (c *FileWatcherConfig) setDefaults() {
	if c.RefreshInterval == 0 {
		c.RefreshInterval = defaultRefreshInterval
	}
	c.RefreshInterval = max(c.RefreshInterval, minRefreshInterval)
}
