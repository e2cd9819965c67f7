// Package flags is what weft's subcommands share about flags: values that check themselves, the
// environment, and errors that a person can act on.
//
// It is not a parser: github.com/urfave/cli/v2 parses, over Go's flag package, so -x and --x are
// the same, as flannel's users write them.
//
//	arguments ──cli──▶ Value.Set ──▶ the option's variable
//	WEFT_X, else FLANNELD_X ──Environment──▶ Value.Set, only where no flag was given
//	whatever went wrong ──Explain──▶ UsageError: flag, value, remedy
//
// Concurrency: none of it is for concurrent use; parsing happens once, before anything runs.
//
// Sources: flannel's main.go and pkg/flagutil for names and environment; Go's package flag for
// the wording that Explain takes apart.
package flags
