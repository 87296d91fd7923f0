package policy

import (
	"iter"
	"slices"
	"strings"
)

// nearest returns the name that a person most likely meant by word: the one with
// the fewest edits from it, if they are few for its length; else "". Of equally
// near names it returns the first in order.
func nearest(word string, names iter.Seq[string]) string {
	if len(word) > 256 { // edits cost the product of the lengths
		return ""
	}
	best, bestEdits := "", 1+(len(word)+1)/3
	for _, name := range slices.Sorted(names) {
		if len(name) > 256 || max(len(name)-len(word), len(word)-len(name)) >= bestEdits {
			continue
		}
		if n := edits(strings.ToLower(word), strings.ToLower(name)); n < bestEdits {
			best, bestEdits = name, n
		}
	}
	return best
}

// begun returns the one name that begins or ends as word does, of which the other is the
// longer; "" if there is none, or several. Words of less than four letters are no names cut
// short.
func begun(word string, names iter.Seq[string]) string {
	found := ""
	word = strings.ToLower(word)
	for name := range names {
		long, short := word, strings.ToLower(name)
		if len(long) < len(short) {
			long, short = short, long
		}
		if len(short) < 4 || !strings.HasPrefix(long, short) && !strings.HasSuffix(long, short) {
			continue
		}
		if found != "" {
			return ""
		}
		found = name
	}
	return found
}

// edits is the number of letters to insert, delete, change or swap with their
// neighbour that turns a into b (optimal string alignment distance).
func edits(a, b string) int {
	before, above, row := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range above {
		above[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row[0] = i
		for j := 1; j <= len(b); j++ {
			change := above[j-1]
			if a[i-1] != b[j-1] {
				change++
			}
			row[j] = min(above[j]+1, row[j-1]+1, change)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		before, above, row = above, row, before
	}
	return above[len(b)]
}
