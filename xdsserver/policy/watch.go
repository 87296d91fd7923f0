package policy

import (
	"context"
	"encoding/binary"
	"path/filepath"
	"time"

	"github.com/cespare/xxhash/v2"
	"github.com/fsnotify/fsnotify"
)

// Watch reads the policy at path, a file or a folder as in [Load], whenever its
// content changes, and calls changed with the policy or with what is wrong with it. The
// first call tells how things stand at the start. Watch returns when ctx is done.
// It calls changed itself: never twice at once, and never after it has returned.
//
// A content is reported once, good or bad, however often it is written. After an
// error the user of Watch keeps the policy that it has: the next call brings a
// better one. Files that editors replace by renaming and folders that are swapped
// by a symbolic link, as Kubernetes does with a ConfigMap, are followed.
//
// Where the system cannot notify of changes the files are read every two seconds;
// where it can, every thirty seconds nevertheless, for the file systems that forget to (NFS).
func Watch(ctx context.Context, path string, changed func(*Policy, error)) {
	newWatcher(path, changed).run(ctx)
}

const (
	// settle is how long a policy rests after a change before it is read: editors
	// and copies write in several steps. maxSettle bounds it while changes go on.
	settle, maxSettle = 50 * time.Millisecond, 500 * time.Millisecond

	pollAlone, pollBeside = 2 * time.Second, 30 * time.Second
)

type watcher struct {
	path    string
	changed func(*Policy, error)

	last    uint64 // the fingerprint of what was reported last
	started bool

	interval time.Duration // between looks that nothing asked for

	notifier *fsnotify.Watcher // nil where the system has none
	chain    chain             // what leads to the policy
	folders  map[string]bool   // that the notifier watches
}

func newWatcher(path string, changed func(*Policy, error)) *watcher {
	w := &watcher{path: path, changed: changed, interval: pollAlone}
	if notifier, err := fsnotify.NewWatcher(); err == nil {
		w.notifier, w.interval = notifier, pollBeside
	}
	return w
}

// run watches until ctx is done, and closes the notifier.
func (w *watcher) run(ctx context.Context) {
	var events <-chan fsnotify.Event
	var lost <-chan error
	if w.notifier != nil {
		defer func() { _ = w.notifier.Close() }()
		events, lost = w.notifier.Events, w.notifier.Errors
	}
	poll := time.NewTicker(w.interval)
	defer poll.Stop()
	settled := time.NewTimer(0) // the first look
	defer settled.Stop()
	var since time.Time // of the first change that was not looked at; zero for none
	touched := func() {
		if since.IsZero() {
			since = time.Now()
		}
		settled.Reset(max(0, min(settle, maxSettle-time.Since(since))))
	}
	for {
		select {
		case <-ctx.Done():
			return
		case event := <-events:
			if w.concerns(event.Name) {
				touched()
			}
		case <-lost: //nolint:errcheck // whatever was lost, it is time to look
			touched()
		case <-poll.C:
			// What changed may be half written: it is read again when it has settled.
			if _, news, _ := w.look(); news {
				touched()
			}
		case <-settled.C:
			since = time.Time{}
			w.report(ctx)
		}
	}
}

// report tells what the files say, if that is news.
func (w *watcher) report(ctx context.Context) {
	sources, news, err := w.look()
	if !news || ctx.Err() != nil {
		return
	}
	w.started, w.last = true, fingerprint(sources, err)
	if err != nil {
		w.changed(nil, err)
		return
	}
	w.changed(parse(sources))
}

// look reads the files; news says that they are not what was reported last. It asks
// for events first, so that no change falls between.
func (w *watcher) look() (sources []source, news bool, err error) {
	w.follow()
	sources, err = read(w.path)
	return sources, !w.started || fingerprint(sources, err) != w.last, err
}

// follow asks for the events of every folder in which a change may change the policy.
func (w *watcher) follow() {
	if w.notifier == nil {
		return
	}
	// A link that is swapped before its folder is watched would go unnoticed: what
	// leads to the policy has to be the same before and after.
	const tries = 4
	for range tries {
		w.chain = chainTo(w.path)
		folders := w.chain.folders()
		for folder := range w.folders {
			if !folders[folder] {
				_ = w.notifier.Remove(folder) // it may have gone with the folder
			}
		}
		for folder := range folders {
			_ = w.notifier.Add(folder) // where it fails, polling remains
		}
		w.folders = folders
		if chainTo(w.path).equal(w.chain) {
			return
		}
	}
}

// concerns reports whether a change of the named file may change the policy.
func (w *watcher) concerns(name string) bool {
	return w.chain.names[name] || w.folders[name] ||
		filepath.Dir(name) == w.chain.folder && isPolicyFile(filepath.Base(name))
}

// fingerprint is a hash of what was read, or of the reason why nothing was.
func fingerprint(sources []source, err error) uint64 {
	hash := xxhash.New()
	write := func(s string) {
		_, _ = hash.Write(binary.BigEndian.AppendUint64(nil, uint64(len(s))))
		_, _ = hash.WriteString(s)
	}
	if err != nil {
		write(err.Error())
	}
	for _, src := range sources {
		write(src.file)
		write(string(src.data))
	}
	return hash.Sum64()
}
