package policy

import (
	"maps"
	"os"
	"path/filepath"
	"strings"
)

// chain is what leads to a policy in the file system: a change of any of it may
// change the policy.
type chain struct {
	// names are the symbolic links on the way, the files at their ends, and what is
	// missing. Their folders are real: no link is left in them.
	names map[string]bool
	// folder is the policy's folder, "" for a policy in one file.
	folder string
}

// chainTo walks to the policy at path.
func chainTo(path string) chain {
	c := chain{names: make(map[string]bool)}
	if abs, err := filepath.Abs(path); err == nil {
		path = abs
	}
	end, ok := c.walk(path)
	if !ok {
		return c
	}
	entries, err := os.ReadDir(end)
	if err != nil {
		return c
	}
	c.folder = end
	for _, entry := range entries {
		if isPolicyFile(entry.Name()) {
			c.walk(filepath.Join(end, entry.Name()))
		}
	}
	return c
}

// walk follows path step by step and returns where it ends, if that exists.
func (c chain) walk(path string) (end string, ok bool) {
	const maxLinks = 64
	volume := filepath.VolumeName(path)
	root := volume + string(filepath.Separator)
	at, rest := root, path[len(volume):]
	for links := 0; ; {
		rest = strings.TrimLeft(rest, string(filepath.Separator))
		if rest == "" {
			c.names[at] = true
			return at, true
		}
		step := rest
		if i := strings.IndexByte(rest, filepath.Separator); i >= 0 {
			step, rest = rest[:i], rest[i:]
		} else {
			rest = ""
		}
		next := filepath.Join(at, step)
		info, err := os.Lstat(next)
		if err != nil {
			c.names[next] = true
			return "", false
		}
		if info.Mode()&os.ModeSymlink == 0 {
			at = next
			continue
		}
		c.names[next] = true
		target, err := os.Readlink(next)
		if links++; err != nil || links > maxLinks {
			return "", false
		}
		if filepath.IsAbs(target) {
			at, target = root, target[len(filepath.VolumeName(target)):]
		}
		rest = target + string(filepath.Separator) + rest
	}
}

// folders are those whose events tell of a change.
func (c chain) folders() map[string]bool {
	folders := make(map[string]bool)
	if c.folder != "" {
		folders[c.folder] = true
	}
	for name := range c.names {
		folders[filepath.Dir(name)] = true
	}
	return folders
}

func (c chain) equal(other chain) bool {
	return c.folder == other.folder && maps.Equal(c.names, other.names)
}
