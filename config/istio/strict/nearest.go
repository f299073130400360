package strict

// Nearest returns the word that is most likely meant by a misspelled one, ""
// when none is near: at most a third of its letters may differ.
func Nearest(word string, words []string) string {
	const longest = 64 // no field name is longer; bounds the work on hostile input
	if len(word) > longest {
		return ""
	}
	best, bestDistance := "", max(1, len(word)/3)+1
	for _, w := range words {
		if d := distance(word, w); d < bestDistance {
			best, bestDistance = w, d
		}
	}
	return best
}

// distance returns how many letters to insert, remove, replace or swap with
// their neighbour to turn a into b; case does not count.
func distance(a, b string) int {
	var twoAgo []int // the rows of the last two letters of a
	last := make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := range len(a) {
		row := make([]int, len(b)+1)
		row[0] = i + 1
		for j := range len(b) {
			replace := last[j]
			if lower(a[i]) != lower(b[j]) {
				replace++
			}
			row[j+1] = min(replace, last[j+1]+1, row[j]+1)
			if i > 0 && j > 0 && lower(a[i]) == lower(b[j-1]) && lower(a[i-1]) == lower(b[j]) {
				row[j+1] = min(row[j+1], twoAgo[j-1]+1)
			}
		}
		twoAgo, last = last, row
	}
	return last[len(b)]
}

func lower(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		return c + ('a' - 'A')
	}
	return c
}
