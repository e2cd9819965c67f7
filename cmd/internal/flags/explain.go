package flags

import (
	"fmt"
	"regexp"
	"strings"

	"github.com/urfave/cli/v2"
)

// A UsageError is a command line that can't be carried out as it stands: exit status 2.
type UsageError struct {
	Command string // "weft agent"
	Problem string // flag, value and remedy, one line
}

// Error returns the one line that is printed.
func (e *UsageError) Error() string { return e.Command + ": " + oneLine(e.Problem) }

// Usagef makes a UsageError of the command that c runs.
func Usagef(c *cli.Context, format string, args ...any) error {
	return &UsageError{Command: c.Command.HelpName, Problem: fmt.Sprintf(format, args...)}
}

// The wording of Go's package flag, which keeps no structured error.
const (
	undefined = "flag provided but not defined: -"
	needsArg  = "flag needs an argument: -"
	badSyntax = "bad flag syntax: "
)

// bareSwitch is what package flag says when a switch that stands alone refuses its "true".
var bareSwitch = regexp.MustCompile(`^invalid boolean flag ([^:]+): (?s:(.*))$`)

var badValue = regexp.MustCompile(`^invalid (?:boolean )?value ("(?:[^"\\]|\\.)*") for (?:flag )?-([^:]+): (?s:(.*))$`)

// Explain turns what the parser said into a UsageError with a remedy. It is a cli.OnUsageErrorFunc.
func Explain(c *cli.Context, err error, _ bool) error {
	command, text := c.Command, err.Error()
	if name, ok := strings.CutPrefix(text, undefined); ok {
		name, _, _ = strings.Cut(name, "=")
		return Usagef(c, "--%s: no such flag: %s", name, suggestion(command, "--", name, flagNames(command)))
	}
	if name, ok := strings.CutPrefix(text, needsArg); ok {
		return Usagef(c, "--%s: its value is missing: write --%s=VALUE", name, name)
	}
	if arg, ok := strings.CutPrefix(text, badSyntax); ok {
		return Usagef(c, "%s: no flag is written like this: write --NAME=VALUE", arg)
	}
	if m := badValue.FindStringSubmatch(text); m != nil {
		return Usagef(c, "--%s=%s: %s", m[2], m[1], remedy(err))
	}
	if m := bareSwitch.FindStringSubmatch(text); m != nil {
		return Usagef(c, "--%s: %s", m[1], m[2])
	}
	return Usagef(c, "%s", text)
}

// remedy takes what the value itself said out of the parser's sentence.
func remedy(err error) string {
	text := err.Error()
	if m := badValue.FindStringSubmatch(text); m != nil {
		text = m[3]
	}
	if strings.Contains(text, "parse error") || strings.Contains(text, "invalid syntax") {
		// Only package flag's own booleans end here; weft's values say what they want.
		return "want true or false"
	}
	return text
}

// NoArguments refuses what stands behind the flags, for commands that take nothing there.
func NoArguments(c *cli.Context) error {
	if c.NArg() == 0 {
		return nil
	}
	arg := c.Args().First()
	if arg == "true" || arg == "false" {
		return Usagef(c, "stray argument %q: a switch takes its value with an equals sign: --NAME=%s", arg, arg)
	}
	return Usagef(c, "stray argument %q: this command takes flags only: remove it (%s --help)", arg, c.Command.HelpName)
}

// UnknownCommand is the error for a subcommand that isn't there.
func UnknownCommand(c *cli.Context, name string) error {
	var names []string
	for _, sub := range c.Command.Subcommands {
		if !sub.Hidden {
			names = append(names, sub.Name)
		}
	}
	return Usagef(c, "%q: no such command: %s", name, suggestion(c.Command, "", name, names))
}

func flagNames(command *cli.Command) []string {
	var names []string
	for _, f := range command.Flags {
		names = append(names, f.Names()[0])
	}
	return names
}

// suggestion names the closest known word, or where the list is.
func suggestion(command *cli.Command, dashes, wrong string, known []string) string {
	if best := closest(wrong, known); best != "" {
		return fmt.Sprintf("did you mean %s%s?", dashes, best)
	}
	return fmt.Sprintf("%s --help lists them", command.HelpName)
}

// oneLine folds line breaks, which error texts of other packages may bring along.
func oneLine(text string) string { return strings.Join(strings.Fields(text), " ") }
