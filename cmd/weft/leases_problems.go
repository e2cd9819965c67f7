package main

import (
	"regexp"
	"strings"

	"weft/lease"
)

// problemTable has a row for each record that hosts skip. The remedy is a command that can be pasted:
// most records are best removed, and the detail says where another way exists.
func (v *view) problemTable() table {
	t := table{heading: []string{"KEY", "REASON", "DETAIL", "TO REMOVE IT"}, empty: "no problems"}
	for _, p := range v.snapshot.Problems {
		t.rows = append(t.rows, []string{printable(p.Key), p.Reason, printable(p.Detail), remedyOf(p)})
	}
	return t
}

// remedyOf is the command that removes the record.
func remedyOf(p lease.Problem) string {
	command := "weft leases release " + shellWord(p.Key)
	if !strings.HasPrefix(p.Token, "0 ") && p.Token != "" {
		command += " --force" // a host may hold it
	}
	return command
}

var plainWord = regexp.MustCompile(`^[A-Za-z0-9_./:@%+,=-]+$`)

// shellWord quotes a key for a shell: keys are anybody's text.
func shellWord(text string) string {
	switch {
	case plainWord.MatchString(text):
		return text
	case text != printable(text):
		// A key that can't be shown can't be pasted either. $'…' is bash's and zsh's.
		return "$'" + strings.ReplaceAll(printable(text), "'", `\'`) + "'"
	}
	return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'"
}
