package flags

import "strings"

// closest returns the known word that wrong was most likely meant to be, or "" if none is near: at
// most a third of its letters mistyped, or a part of the word left out ("endpoints" for
// "etcd-endpoints", "vers" for "version").
func closest(wrong string, known []string) string {
	best, distance := "", max(len(wrong)/3, 1)+1
	for _, word := range known {
		if d := editDistance(wrong, word); d < distance {
			best, distance = word, d
		}
	}
	if best != "" || len(wrong) < 3 {
		return best
	}
	for _, word := range known {
		if strings.HasSuffix(word, "-"+wrong) || strings.HasPrefix(word, wrong) {
			return word
		}
	}
	return ""
}

// editDistance counts the letters to insert, delete, replace or exchange with their neighbour that
// turn a into b (Damerau and Levenshtein, restricted: no letter is edited twice).
func editDistance(a, b string) int {
	// rows[i%3][j] is the distance of a[:i] and b[:j]; an exchange looks back two rows.
	var rows [3][]int
	for i := range rows {
		rows[i] = make([]int, len(b)+1)
	}
	for i := range len(a) + 1 {
		row, last, before := rows[i%3], rows[(i+2)%3], rows[(i+1)%3]
		row[0] = i
		for j := 1; j <= len(b); j++ {
			if i == 0 {
				row[j] = j
				continue
			}
			replace := last[j-1]
			if a[i-1] != b[j-1] {
				replace++
			}
			row[j] = min(replace, last[j]+1, row[j-1]+1)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
	}
	return rows[len(a)%3][len(b)]
}
