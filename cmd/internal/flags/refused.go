package flags

import (
	"errors"

	"github.com/urfave/cli/v2"
)

// A Refusal is a flag of flannel's that weft knows but can't honour. Ignoring it would leave a host
// that looks configured and isn't, so any value but the one that means what weft does anyway is an error.
type Refusal struct {
	Name     string
	Accepted string // the value that means what weft does anyway, and is accepted
	Bool     bool   // the flag may stand without a value
	Why      string // what weft lacks, and what to do instead
}

// Refused makes the hidden flags that answer with their Refusal's Why.
func Refused(refusals ...Refusal) []cli.Flag {
	var all []cli.Flag
	for _, r := range refusals {
		text := r.Accepted
		parse := func(given string) (string, error) {
			if given != r.Accepted {
				return "", errors.New(r.Why)
			}
			return given, nil
		}
		v := &value[string]{into: &text, parse: parse, format: verbatim, isBool: r.Bool}
		f := v.flag(r.Name, r.Why)
		f.Hidden = true
		all = append(all, f)
	}
	return all
}
