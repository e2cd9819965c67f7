package flags

import "github.com/urfave/cli/v2"

// A value is one flag's variable with the rule for what may be in it. It is flag.Value and
// cli.Generic at once.
type value[T any] struct {
	into   *T
	parse  func(string) (T, error) // the error is the remedy: what the flag wants
	format func(T) string
	isBool bool // "--x" alone stands for "--x=true"
}

// Set parses and stores text; the error says what the flag wants instead.
func (v *value[T]) Set(text string) error {
	parsed, err := v.parse(text)
	if err != nil {
		return err
	}
	*v.into = parsed
	return nil
}

// String returns the present value as it would be typed. Package flag also calls it on a zero
// value, which has nothing to show.
func (v *value[T]) String() string {
	if v.into == nil {
		return ""
	}
	return v.format(*v.into)
}

// IsBoolFlag tells package flag whether the flag may stand without a value.
func (v *value[T]) IsBoolFlag() bool { return v.isBool }

// flag wraps the value for cli.
func (v *value[T]) flag(name, usage string) *cli.GenericFlag {
	return &cli.GenericFlag{Name: name, Usage: usage, Value: v}
}

// Group puts flags under one heading of the help text.
func Group(heading string, members ...cli.Flag) []cli.Flag {
	for _, member := range members {
		switch f := member.(type) {
		case *cli.GenericFlag:
			f.Category = heading
		case *cli.BoolFlag:
			f.Category = heading
		}
	}
	return members
}
