package security

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"sync/atomic"
	"time"
)

// FileWatcher is an IdentitySource and a RootSource over PEM files: the
// file_watcher certificate provider (gRFC A29, A65).
//
// It reads the files at once and then every RefreshInterval, and sooner for a while
// after a change or a failure, since a change seldom comes alone. What cannot
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
	config.setDefaults()
	ctx, cancel := context.WithCancel(context.Background())
	w := &FileWatcher{
		config: config,
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

// lookAgain is how long after news the files are read again; each further look takes
// twice as long, up to the refresh interval.
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
