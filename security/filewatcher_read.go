package security

import (
	"crypto/sha256"
	"crypto/tls"
	"fmt"
	"io"
	"log/slog"
	"os"
)

// fileReader reads a FileWatcher's files, and remembers what they held, so as to see
// what changed.
type fileReader struct {
	identity, roots filePart
}

// filePart is one thing that files give.
type filePart struct {
	sum [sha256.Size]byte // of the contents that were used last
	err string            // the failure that was logged last; empty since the last success
}

// read reads all files once, and reports whether anything is new: a change, or a
// failure that was not there before.
func (r *fileReader) read(w *FileWatcher) (news bool) {
	m := *w.material.Load()
	if file := w.config.CertificateFile; file != "" {
		cert, sum, err := w.config.readIdentity(r.identity.sum)
		news = r.identity.note(w.logger.With("file", file), sum, err)
		if cert != nil {
			m.identity = cert
		}
		m.identityErr = err
	}
	if file := w.config.CACertificateFile; file != "" {
		roots, sum, err := w.config.readRoots(r.roots.sum)
		news = r.roots.note(w.logger.With("file", file), sum, err) || news
		if roots != nil {
			m.roots = roots
		}
		m.rootsErr = err
	}
	if news {
		w.material.Store(&m)
	}
	return news
}

// note takes in the outcome of a read, and reports whether it is news.
func (p *filePart) note(logger *slog.Logger, sum [sha256.Size]byte, err error) bool {
	if err != nil {
		if p.err == err.Error() {
			return false
		}
		p.err = err.Error()
		logger.Warn("certificate file cannot be used", "err", err, "last_good_stays", p.sum != [sha256.Size]byte{})
		return true
	}
	if sum == p.sum && p.err == "" {
		return false
	}
	p.sum, p.err = sum, ""
	logger.Info("certificate file read")
	return true
}

// readIdentity reads the certificate and its key. If they are those of sum, the
// certificate that is returned is nil.
func (c *FileWatcherConfig) readIdentity(last [sha256.Size]byte) (*tls.Certificate, [sha256.Size]byte, error) {
	certPEM, err := readFile(c.CertificateFile)
	if err != nil {
		return nil, last, err
	}
	keyPEM, err := readFile(c.PrivateKeyFile)
	if err != nil {
		return nil, last, err
	}
	certSum, keySum := sha256.Sum256(certPEM), sha256.Sum256(keyPEM)
	sum := sha256.Sum256(append(certSum[:], keySum[:]...))
	if sum == last {
		return nil, sum, nil
	}
	cert, err := ParseIdentity(certPEM, keyPEM)
	if err != nil {
		return nil, last, fmt.Errorf("%s and %s: %w", c.CertificateFile, c.PrivateKeyFile, err)
	}
	return cert, sum, nil
}

// readRoots is readIdentity for the authorities.
func (c *FileWatcherConfig) readRoots(last [sha256.Size]byte) (*Bundle, [sha256.Size]byte, error) {
	data, err := readFile(c.CACertificateFile)
	if err != nil {
		return nil, last, err
	}
	sum := sha256.Sum256(data)
	if sum == last {
		return nil, sum, nil
	}
	roots, err := ParseBundle(data)
	if err != nil {
		return nil, last, fmt.Errorf("%s: %w", c.CACertificateFile, err)
	}
	return roots, sum, nil
}

// maxFileSize bounds what is read from one file, in bytes. The lists of authorities
// that come with operating systems are a quarter of it.
const maxFileSize = 1 << 20

func readFile(path string) ([]byte, error) {
	// A pipe or a terminal would hold up the one goroutine that reads.
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s: not a regular file", path)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxFileSize+1))
	if err != nil {
		return nil, err
	}
	if len(data) > maxFileSize {
		return nil, fmt.Errorf("%s: larger than %d bytes", path, maxFileSize)
	}
	return data, nil
}
