package security_test

import (
	"bytes"
	"crypto/tls"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weft-mesh/weft/internal/match"
	"github.com/weft-mesh/weft/internal/testca"
	"github.com/weft-mesh/weft/security"
)

// logBuffer keeps what is logged.
type logBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *logBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

// count returns how many lines of a level there are.
func (b *logBuffer) count(level slog.Level) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return strings.Count(b.buf.String(), "level="+level.String())
}

func watch(t *testing.T, files testca.Files, interval time.Duration) (*security.FileWatcher, *logBuffer) {
	t.Helper()
	log := new(logBuffer)
	w, err := security.NewFileWatcher(security.FileWatcherConfig{
		CertificateFile:   files.Cert,
		PrivateKeyFile:    files.Key,
		CACertificateFile: files.CA,
		RefreshInterval:   interval,
	}, slog.New(slog.NewTextHandler(log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	return w, log
}

// identityIs fails the test unless w's identity has the leaf of want.
func identityIs(t *testing.T, w security.IdentitySource, want *tls.Certificate) {
	t.Helper()
	got, err := w.Identity(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if !got.Leaf.Equal(want.Leaf) {
		t.Errorf("the identity has serial %v, want %v", got.Leaf.SerialNumber, want.Leaf.SerialNumber)
	}
}

func rootsAre(t *testing.T, w security.RootSource, want ...*testca.CA) {
	t.Helper()
	got, err := w.Roots(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	certs := got.Certificates()
	if len(certs) != len(want) {
		t.Fatalf("%d roots, want %d", len(certs), len(want))
	}
	for i := range want {
		if !certs[i].Equal(want[i].Cert) {
			t.Errorf("root %d is %s", i, certs[i].Subject)
		}
	}
}

func TestFileWatcherRefreshes(t *testing.T) {
	for _, c := range []struct {
		name               string
		configured, actual time.Duration
	}{
		{"as configured", time.Minute, time.Minute},
		{"every 10 minutes by default", 0, 10 * time.Minute},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ca, next := testca.New(t, "one"), testca.New(t, "two")
				a, b := ca.SPIFFE(t, orders), next.SPIFFE(t, orders)
				files := testca.NewFiles(t)
				files.WriteIdentity(t, a)
				files.WriteCA(t, ca)
				w, log := watch(t, files, c.configured)
				defer w.Close()
				identityIs(t, w, a)
				rootsAre(t, w, ca)
				first, _ := w.Identity(t.Context())

				time.Sleep(3 * time.Hour)
				if again, _ := w.Identity(t.Context()); again != first {
					t.Error("an unchanged file gave a new certificate")
				}

				// As of now a look is due within the interval, and not before.
				files.WriteIdentity(t, b)
				files.WriteCA(t, ca, next)
				time.Sleep(c.actual)
				synctest.Wait()
				identityIs(t, w, b)
				rootsAre(t, w, ca, next)

				if n := log.count(slog.LevelWarn); n != 0 {
					t.Errorf("%d warnings: %s", n, &log.buf)
				}
				if n := log.count(slog.LevelInfo); n != 4 {
					t.Errorf("%d news, want one for each file and change: %s", n, &log.buf)
				}
			})
		})
	}
}

// TestFileWatcherLooksAgainSoon has a list of authorities written in two parts, the
// cut between two certificates, where nobody can see it.
func TestFileWatcherLooksAgainSoon(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		one, two := testca.New(t, "one"), testca.New(t, "two")
		files := testca.NewFiles(t)
		files.WriteCA(t, one)
		w, err := security.NewFileWatcher(security.FileWatcherConfig{CACertificateFile: files.CA, RefreshInterval: time.Hour}, nil)
		if err != nil {
			t.Fatal(err)
		}
		defer w.Close()
		rootsAre(t, w, one)
		files.WriteCA(t, one, two)
		time.Sleep(5 * time.Second)
		synctest.Wait()
		rootsAre(t, w, one, two)
	})
}

func TestFileWatcherKeepsTheLastGood(t *testing.T) {
	ca, next := testca.New(t, "one"), testca.New(t, "two")
	a, b := ca.SPIFFE(t, orders), next.SPIFFE(t, orders)
	for _, c := range []struct {
		name  string
		spoil func(*testing.T, testca.Files)
		log   string
	}{
		{"certificate without its key", func(t *testing.T, f testca.Files) { testca.WriteFile(t, f.Cert, testca.CertPEM(b)) }, "does not match"},
		{"key without its certificate", func(t *testing.T, f testca.Files) { testca.WriteFile(t, f.Key, testca.KeyPEM(t, b)) }, "does not match"},
		{"half a certificate", func(t *testing.T, f testca.Files) { testca.WriteFile(t, f.Cert, testca.CertPEM(b)[:300]) }, "cut short"},
		{"empty", func(t *testing.T, f testca.Files) { testca.WriteFile(t, f.Cert, nil) }, "no PEM block"},
		{"removed", func(t *testing.T, f testca.Files) { os.Remove(f.Key) }, "no such file"},
		{"a folder", func(t *testing.T, f testca.Files) { os.Remove(f.Cert); os.Mkdir(f.Cert, 0o700) }, "not a regular file"},
		{"huge", func(t *testing.T, f testca.Files) {
			testca.WriteFile(t, f.Cert, append(testca.CertPEM(a), bytes.Repeat([]byte("\n"), 1<<20)...))
		}, "larger than"},
		{"half a root", func(t *testing.T, f testca.Files) { testca.WriteFile(t, f.CA, append(ca.PEM(), next.PEM()[:100]...)) }, "1 of 2 PEM blocks"},
		{"no root", func(t *testing.T, f testca.Files) { os.Remove(f.CA) }, "no such file"},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				files := testca.NewFiles(t)
				files.WriteIdentity(t, a)
				files.WriteCA(t, ca)
				w, log := watch(t, files, time.Minute)
				defer w.Close()
				identityIs(t, w, a)
				rootsAre(t, w, ca)

				c.spoil(t, files)
				time.Sleep(time.Hour)
				identityIs(t, w, a)
				rootsAre(t, w, ca)
				if n := log.count(slog.LevelWarn); n != 1 || !strings.Contains(log.buf.String(), c.log) {
					t.Errorf("%d warnings, want 1 about %q: %s", n, c.log, &log.buf)
				}

				os.Remove(files.Cert) // which may be a folder
				files.WriteIdentity(t, b)
				files.WriteCA(t, next)
				time.Sleep(time.Minute)
				synctest.Wait()
				identityIs(t, w, b)
				rootsAre(t, w, next)
			})
		})
	}
}

func TestFileWatcherWithoutFiles(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		files := testca.NewFiles(t)
		w, log := watch(t, files, time.Hour)
		defer w.Close()
		start := time.Now()
		for range 3 {
			if _, err := w.Identity(t.Context()); !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), files.Cert) {
				t.Errorf("identity: %v", err)
			}
			if _, err := w.Roots(t.Context()); !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), files.CA) {
				t.Errorf("roots: %v", err)
			}
		}
		if n := log.count(slog.LevelWarn); n != 2 {
			t.Errorf("%d warnings, want one for each file: %s", n, &log.buf)
		}

		ca := testca.New(t, "shop")
		cert := ca.SPIFFE(t, orders)
		files.WriteIdentity(t, cert)
		files.WriteCA(t, ca)
		identityIs(t, w, cert)
		rootsAre(t, w, ca)
		if waited := time.Since(start); waited != 0 {
			t.Errorf("waited %v for files that are there", waited)
		}
	})
}

func TestFileWatcherCloses(t *testing.T) {
	ca := testca.New(t, "shop")
	files := testca.NewFiles(t)
	files.WriteIdentity(t, ca.SPIFFE(t, orders))
	files.WriteCA(t, ca)
	w, _ := watch(t, files, time.Hour)
	if _, err := w.Identity(t.Context()); err != nil {
		t.Fatal(err)
	}
	w.Close()
	w.Close()
	if _, err := w.Identity(t.Context()); err == nil {
		t.Error("a closed watcher gave an identity")
	}
	if _, err := w.Roots(t.Context()); err == nil {
		t.Error("a closed watcher gave roots")
	}
}

// TestRotation calls a server through a rotation of every certificate there is, the
// authority included, in the order that keeps each connection possible.
func TestRotation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		old, next := testca.New(t, "old"), testca.New(t, "new")
		files := testca.NewFiles(t)
		files.WriteIdentity(t, old.SPIFFE(t, "spiffe://shop.example/web"))
		files.WriteCA(t, old)
		w, _ := watch(t, files, time.Minute)
		defer w.Close()
		client := newClient(t, security.ClientTLSConfig{
			Identity: w,
			Roots:    w,
			SANs:     []security.SANMatcher{san(t, security.SANURI, match.Exact, orders)},
		})
		server := func(ca *testca.CA) *tls.Config {
			config := as(ca.SPIFFE(t, orders))
			config.ClientAuth = tls.RequireAndVerifyClientCert
			config.ClientCAs = old.Pool()
			config.ClientCAs.AddCert(next.Cert)
			return config
		}
		refresh := func() {
			time.Sleep(time.Minute)
			synctest.Wait()
		}
		connects := func(ca *testca.CA, identity *tls.Certificate) {
			t.Helper()
			seen, err := connectPipe(t, client, server(ca))
			if err != nil {
				t.Fatal(err)
			}
			if identity != nil && !seen.PeerCertificates[0].Equal(identity.Leaf) {
				t.Errorf("the server saw serial %v, want %v", seen.PeerCertificates[0].SerialNumber, identity.Leaf.SerialNumber)
			}
		}

		connects(old, nil)
		if _, err := connectPipe(t, client, server(next)); err == nil {
			t.Error("trusted an authority that is not there yet")
		}
		files.WriteCA(t, old, next)
		refresh()
		connects(old, nil)
		connects(next, nil)

		fresh := next.SPIFFE(t, "spiffe://shop.example/web")
		files.WriteIdentity(t, fresh)
		refresh()
		connects(next, fresh)

		files.WriteCA(t, next)
		refresh()
		connects(next, fresh)
		if _, err := connectPipe(t, client, server(old)); err == nil {
			t.Error("trusted an authority that was withdrawn")
		}
	})
}
