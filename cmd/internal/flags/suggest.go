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

// editDistance counts the letters to insert, delete or replace that turn a into b (Wagner–Fischer,
// one row at a time).
func editDistance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			replace := diagonal
			if a[i] != b[j] {
				replace++
			}
			diagonal = row[j+1]
			row[j+1] = min(replace, row[j+1]+1, row[j]+1)
		}
	}
	return row[len(b)]
}
