package flags

import (
	"fmt"
	"strings"

	"github.com/urfave/cli/v2"
)

// Given says where a flag's value came from: "--name", or the environment variable. A flag that
// nobody gave isn't in it.
type Given map[string]string

// prefixes of environment variables, the strongest first.
var prefixes = []string{"WEFT_", "FLANNELD_"}

// Variables returns the environment variables that stand for the flag, the strongest first.
func Variables(flag string) []string {
	suffix := strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))
	names := make([]string, len(prefixes))
	for i, prefix := range prefixes {
		names[i] = prefix + suffix
	}
	return names
}

// Environment sets every flag of the command that wasn't given from its variable. An empty variable
// counts as absent, as it does for flannel. The error is a UsageError that names the variable.
func Environment(c *cli.Context, lookup func(string) string) (Given, error) {
	given := Given{}
	for _, f := range c.Command.Flags {
		name := f.Names()[0]
		if name == "help" || name == "version" { // WEFT_VERSION is what images call their own version
			continue
		}
		if c.IsSet(name) {
			given[name] = "--" + name
			continue
		}
		for _, variable := range Variables(name) {
			text := lookup(variable)
			if text == "" {
				continue
			}
			if err := c.Set(name, text); err != nil {
				return nil, &UsageError{
					Command: c.Command.HelpName,
					Problem: fmt.Sprintf("%s=%q in the environment: %s", variable, shown(f, text), remedy(err)),
				}
			}
			given[name] = variable
			break
		}
	}
	return given, nil
}

// shown keeps secrets out of error texts.
func shown(f cli.Flag, text string) string {
	if strings.Contains(f.Names()[0], "password") {
		return "…"
	}
	return text
}
