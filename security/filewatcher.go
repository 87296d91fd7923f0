package security

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"sync/atomic"
	"time"
)

// FileWatcher is an IdentitySource and a RootSource over PEM files: the
// file_watcher certificate provider (gRFC A29, A65).
//
// It reads the files at once and then every RefreshInterval, and sooner for a while
// after each change and each failure, since a change seldom comes alone. What cannot
// be used changes nothing: a file that is missing or cut short, a key that is not
// the certificate's (the other half is yet to be written). The last good
// certificate stays, and each failure is logged once. As long as there has been no
// good one, every handshake has the files read again, and fails if they still are
// not there.
//
// Writers that can should replace files by rename: a list of authorities that is
// cut between two of them is a valid list. It is used until the next look, a second
// later.
type FileWatcher struct {
	config FileWatcherConfig
	logger *slog.Logger

	material atomic.Pointer[fileMaterial] // never nil

	look   chan chan struct{} // asks run to read the files now, and to close what is sent
	cancel context.CancelFunc
	done   chan struct{} // closed when run has ended
}

// fileMaterial is the last good of what was read, and what was wrong with the files
// since, if anything.
type fileMaterial struct {
	identity    *tls.Certificate
	identityErr error
	roots       *Bundle
	rootsErr    error
}

// NewFileWatcher starts a watcher, to be stopped by Close. Files that are missing
// are not an error: they may be written later. logger may be nil for the default one.
func NewFileWatcher(config FileWatcherConfig, logger *slog.Logger) (*FileWatcher, error) {
	if err := config.validate(); err != nil {
		return nil, err
	}
	if logger == nil {
		logger = slog.Default()
	}
	ctx, cancel := context.WithCancel(context.Background())
	w := &FileWatcher{
		config: config.withDefaults(),
		logger: logger,
		look:   make(chan chan struct{}),
		cancel: cancel,
		done:   make(chan struct{}),
	}
	w.material.Store(&fileMaterial{})
	go w.run(ctx)
	return w, nil
}

// Close stops the watcher and waits until it has. From then on Identity and Roots fail.
func (w *FileWatcher) Close() error {
	w.cancel()
	<-w.done
	return nil
}

// Identity returns the newest good certificate.
func (w *FileWatcher) Identity(ctx context.Context) (*tls.Certificate, error) {
	if w.config.CertificateFile == "" {
		return nil, errors.New("the file watcher has no certificate_file")
	}
	m, err := w.await(ctx, func(m *fileMaterial) bool { return m.identity != nil })
	if err != nil {
		return nil, err
	}
	if m.identity == nil {
		return nil, m.identityErr
	}
	return m.identity, nil
}

// Roots returns the newest good authorities.
func (w *FileWatcher) Roots(ctx context.Context) (*Bundle, error) {
	if w.config.CACertificateFile == "" {
		return nil, errors.New("the file watcher has no ca_certificate_file")
	}
	m, err := w.await(ctx, func(m *fileMaterial) bool { return m.roots != nil })
	if err != nil {
		return nil, err
	}
	if m.roots == nil {
		return nil, m.rootsErr
	}
	return m.roots, nil
}

// await returns the material, once the files have been looked at if it is not good yet.
func (w *FileWatcher) await(ctx context.Context, good func(*fileMaterial) bool) (*fileMaterial, error) {
	select {
	case <-w.done:
		return nil, errWatcherClosed
	default:
	}
	if m := w.material.Load(); good(m) {
		return m, nil
	}
	looked := make(chan struct{})
	select {
	case w.look <- looked:
	case <-w.done:
		return nil, errWatcherClosed
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	select {
	case <-looked:
		return w.material.Load(), nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

var errWatcherClosed = errors.New("the file watcher is closed")

// lookAgain is how long after a change or a failure the files are read again; each
// further look takes twice as long, up to the refresh interval.
const lookAgain = time.Second

// run owns the reading. It is the only one that stores material.
func (w *FileWatcher) run(ctx context.Context) {
	defer close(w.done)
	var r fileReader
	var delay time.Duration
	var looked chan struct{} // whoever asked for this read
	for {
		if r.read(w) {
			delay = lookAgain
		} else {
			delay *= 2
		}
		if looked != nil {
			close(looked)
			looked = nil
		}
		delay = min(delay, w.config.RefreshInterval)
		timer := time.NewTimer(delay)
		select {
		case <-timer.C:
		case looked = <-w.look:
		case <-ctx.Done():
			timer.Stop()
			return
		}
		timer.Stop()
	}
}

// fileReader remembers what the files held, so as to see what changed.
type fileReader struct {
	identity, roots filePart
}

// filePart is one thing that files give.
type filePart struct {
	sum [sha256.Size]byte // of the contents that were used last
	err string            // the failure that was logged last; empty since the last success
}

// read reads all files once, and reports whether anything is new or wrong.
func (r *fileReader) read(w *FileWatcher) (restless bool) {
	m := *w.material.Load()
	if file := w.config.CertificateFile; file != "" {
		cert, sum, err := w.config.readIdentity(r.identity.sum)
		restless = r.identity.note(w.logger.With("file", file), sum, err)
		if cert != nil {
			m.identity = cert
		}
		m.identityErr = err
	}
	if file := w.config.CACertificateFile; file != "" {
		roots, sum, err := w.config.readRoots(r.roots.sum)
		restless = r.roots.note(w.logger.With("file", file), sum, err) || restless
		if roots != nil {
			m.roots = roots
		}
		m.rootsErr = err
	}
	if restless {
		w.material.Store(&m)
	}
	return restless
}

// note takes in the outcome of a read, and reports whether it is a change or a failure.
func (p *filePart) note(logger *slog.Logger, sum [sha256.Size]byte, err error) bool {
	if err != nil {
		if p.err != err.Error() {
			p.err = err.Error()
			logger.Warn("certificate file cannot be used", "err", err, "last_good_stays", p.sum != [sha256.Size]byte{})
		}
		return true
	}
	changed := sum != p.sum
	if changed || p.err != "" {
		logger.Info("certificate file read")
	}
	p.sum, p.err = sum, ""
	return changed
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
