package policy

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// report is one call of a watch.
type report struct {
	policy *Policy
	err    error
}

// watching runs a watch until the test ends and returns what it reports.
func watching(t *testing.T, watch func(ctx context.Context, changed func(*Policy, error))) <-chan report {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	reports, done := make(chan report), make(chan struct{})
	go func() {
		defer close(done)
		watch(ctx, func(p *Policy, err error) {
			select {
			case reports <- report{p, err}:
			case <-ctx.Done():
			}
		})
	}()
	t.Cleanup(func() {
		cancel()
		<-done
	})
	return reports
}

// watchEvents watches by events alone.
func watchEvents(t *testing.T, path string) <-chan report {
	t.Helper()
	return watching(t, func(ctx context.Context, changed func(*Policy, error)) {
		w := newWatcher(path, changed)
		w.interval = 24 * time.Hour
		w.run(ctx)
	})
}

// next waits for the next report.
func next(t *testing.T, reports <-chan report) report {
	t.Helper()
	select {
	case r := <-reports:
		return r
	case <-time.After(time.Minute):
		t.Fatal("nothing was reported in a minute")
		panic("not reached")
	}
}

// want waits for the next report, which has to be a policy with one service of the name.
func want(t *testing.T, reports <-chan report, service string) {
	t.Helper()
	r := next(t, reports)
	if r.err != nil || len(r.policy.Services) != 1 || r.policy.Services[service] == nil {
		t.Fatalf("reported %+v, want the service %s", r, service)
	}
}

// wantError waits for the next report, which has to be an error that says text.
func wantError(t *testing.T, reports <-chan report, text string) {
	t.Helper()
	if r := next(t, reports); r.err == nil || !strings.Contains(r.err.Error(), text) {
		t.Fatalf("reported %+v, want the error %s", r, text)
	}
}

// replace writes a file under another name and renames it, as editors do: nobody
// sees it half written.
func replace(t *testing.T, path, text string) {
	t.Helper()
	beside := filepath.Join(filepath.Dir(path), ".beside")
	writeFile(t, beside, text)
	if err := os.Rename(beside, path); err != nil {
		t.Fatal(err)
	}
}

func TestWatchFile(t *testing.T) {
	path := filepath.Join(write(t, map[string]string{"p.yaml": minimal("one")}), "p.yaml")
	reports := watchEvents(t, path)
	want(t, reports, "one")
	replace(t, path, minimal("two"))
	want(t, reports, "two")

	// The same bad content, written twice, and the same good one are no news: the
	// next report is the one after.
	replace(t, path, "servces: {}\n")
	wantError(t, reports, path+`:1:1: unknown field "servces" (did you mean "services"?)`)
	replace(t, path, "servces: {}\n")
	replace(t, path, minimal("three"))
	want(t, reports, "three")
	replace(t, path, minimal("three"))
	replace(t, path, minimal("four"))
	want(t, reports, "four")

	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if r := next(t, reports); !errors.Is(r.err, fs.ErrNotExist) {
		t.Fatalf("reported %+v", r)
	}
	replace(t, path, minimal("four"))
	want(t, reports, "four")
}

// TestWatchInPlace changes the file without replacing it.
func TestWatchInPlace(t *testing.T) {
	path := filepath.Join(write(t, map[string]string{"p.yaml": minimal("one")}), "p.yaml")
	reports := watching(t, func(ctx context.Context, changed func(*Policy, error)) { Watch(ctx, path, changed) })
	want(t, reports, "one")
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteString("---\n" + minimal("one")); err != nil {
		t.Fatal(err)
	}
	wantError(t, reports, path+`:3:12: service "one" is defined twice, first at `+path+`:1:12`)
}

func TestWatchFolder(t *testing.T) {
	dir := write(t, map[string]string{"a.yaml": minimal("one")})
	reports := watchEvents(t, dir)
	want(t, reports, "one")
	writeFile(t, filepath.Join(dir, "notes.txt"), "not a policy")
	replace(t, filepath.Join(dir, "b.yaml"), minimal("one"))
	wantError(t, reports, `service "one" is defined twice`)
	if err := os.Remove(filepath.Join(dir, "a.yaml")); err != nil {
		t.Fatal(err)
	}
	want(t, reports, "one")

	// The folder itself goes and comes back.
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	for !errors.Is(next(t, reports).err, fs.ErrNotExist) { // the file may go before the folder does
	}
	writeFile(t, filepath.Join(dir+".new", "c.yaml"), minimal("two"))
	if err := os.Rename(dir+".new", dir); err != nil {
		t.Fatal(err)
	}
	want(t, reports, "two")
	replace(t, filepath.Join(dir, "c.yaml"), minimal("three"))
	want(t, reports, "three")
}

// TestWatchFolderSwap moves a folder away and another in its place: the events of
// the old one are no longer those of the policy.
func TestWatchFolderSwap(t *testing.T) {
	root := write(t, map[string]string{"now/p.yaml": minimal("one"), "next/p.yaml": minimal("two")})
	now := filepath.Join(root, "now")
	reports := watchEvents(t, now)
	want(t, reports, "one")
	for _, move := range [][2]string{{"now", "old"}, {"next", "now"}} {
		if err := os.Rename(filepath.Join(root, move[0]), filepath.Join(root, move[1])); err != nil {
			t.Fatal(err)
		}
	}
	r := next(t, reports)
	if errors.Is(r.err, fs.ErrNotExist) { // it was looked at between the two
		r = next(t, reports)
	}
	if r.err != nil || r.policy.Services["two"] == nil {
		t.Fatalf("reported %+v", r)
	}
	replace(t, filepath.Join(now, "p.yaml"), minimal("three"))
	want(t, reports, "three")
}

// TestWatchConfigMap swaps a folder as the kubelet does: the files are links into
// ..data, which is a link to a folder that is replaced at every change.
func TestWatchConfigMap(t *testing.T) {
	for _, test := range []struct{ name, path string }{{"folder", ""}, {"file", "p.yaml"}} {
		t.Run(test.name, func(t *testing.T) {
			dir := write(t, map[string]string{"..1/p.yaml": minimal("one")})
			link := func(target, name string) {
				if err := os.Symlink(target, filepath.Join(dir, name)); err != nil {
					t.Fatal(err)
				}
			}
			link("..1", "..data")
			link("..data/p.yaml", "p.yaml")
			reports := watchEvents(t, filepath.Join(dir, test.path))
			want(t, reports, "one")
			for i, name := range []string{"two", "three"} {
				version := "..v" + string(rune('2'+i))
				writeFile(t, filepath.Join(dir, version, "p.yaml"), minimal(name))
				link(version, "..data_tmp")
				if err := os.Rename(filepath.Join(dir, "..data_tmp"), filepath.Join(dir, "..data")); err != nil {
					t.Fatal(err)
				}
				want(t, reports, name)
			}
		})
	}
}

// TestWatchLinkFromAfar follows a link to a file that changes where it is.
func TestWatchLinkFromAfar(t *testing.T) {
	target := filepath.Join(write(t, map[string]string{"real.yaml": minimal("one")}), "real.yaml")
	path := filepath.Join(t.TempDir(), "p.yaml")
	if err := os.Symlink(target, path); err != nil {
		t.Fatal(err)
	}
	reports := watchEvents(t, path)
	want(t, reports, "one")
	replace(t, target, minimal("two"))
	want(t, reports, "two")
}

func TestWatchBeforeThereIsAFile(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "etc", "p.yaml")
	reports := watchEvents(t, path)
	if r := next(t, reports); !errors.Is(r.err, fs.ErrNotExist) {
		t.Fatalf("reported %+v", r)
	}
	writeFile(t, filepath.Join(dir, "new", "p.yaml"), minimal("one"))
	if err := os.Rename(filepath.Join(dir, "new"), filepath.Join(dir, "etc")); err != nil {
		t.Fatal(err)
	}
	want(t, reports, "one")
}

// TestWatchByPolling has no events; the clock is the test's.
func TestWatchByPolling(t *testing.T) {
	path := filepath.Join(write(t, map[string]string{"p.yaml": minimal("one")}), "p.yaml")
	synctest.Test(t, func(t *testing.T) {
		reports := watching(t, func(ctx context.Context, changed func(*Policy, error)) {
			(&watcher{path: path, changed: changed, interval: pollAlone}).run(ctx)
		})
		start := time.Now()
		want(t, reports, "one")
		if waited := time.Since(start); waited != 0 {
			t.Errorf("the first report came after %s", waited)
		}
		writeFile(t, path, minimal("two"))
		want(t, reports, "two")
		if waited := time.Since(start); waited != pollAlone+settle {
			t.Errorf("the change was reported after %s", waited)
		}
		time.Sleep(10*pollAlone + pollAlone/2) // of the test's clock: nothing changes, nothing is reported
		select {
		case r := <-reports:
			t.Errorf("reported without a change: %+v", r)
		default:
		}
		writeFile(t, path, "x: 1\n")
		wantError(t, reports, `unknown field "x"`)
	})
}

func TestWatchEnds(t *testing.T) {
	path := filepath.Join(write(t, map[string]string{"p.yaml": minimal("one")}), "p.yaml")
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	Watch(ctx, path, func(p *Policy, err error) { t.Errorf("reported %v, %v after the end", p, err) })
}
