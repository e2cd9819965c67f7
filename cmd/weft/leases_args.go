package main

import (
	"errors"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"strings"

	"github.com/urfave/cli/v2"

	"weft/cmd/internal/flags"
	"weft/lease"
)

// withArguments hands on what stands there besides flags, once flags and environment are read.
func withArguments(c *cli.Context, check func(map[string]string) []error, use func(words []string) error) error {
	words, err := takeArguments(c)
	if errors.Is(err, flag.ErrHelp) {
		return cli.ShowSubcommandHelp(c)
	}
	if err != nil {
		return err
	}
	given, err := flags.Environment(c, os.Getenv)
	if err != nil {
		return err
	}
	if problems := check(given); len(problems) > 0 {
		return allProblems(c, problems)
	}
	return use(words)
}

// takeArguments returns what stands there besides flags. Package flag stops at the first such word;
// here flags may follow it, since "release 10.5.7.0/24 --force" is how people write it.
func takeArguments(c *cli.Context) ([]string, error) {
	if parent := c.Lineage()[1]; len(parent.LocalFlagNames()) > 0 {
		return nil, flags.Usagef(c, "--%s stands before %s: write flags behind it", parent.LocalFlagNames()[0], c.Command.Name)
	}
	var words []string
	rest := c.Args().Slice()
	for len(rest) > 0 {
		word := rest[0]
		rest = rest[1:]
		name, isFlag := strings.CutPrefix(word, "-")
		name = strings.TrimPrefix(name, "-")
		if !isFlag || name == "" {
			words = append(words, word)
			continue
		}
		name, value, hasValue := strings.Cut(name, "=")
		known, isSwitch := flagNamed(c.Command, name)
		switch {
		case name == "help" || name == "h":
			return nil, flag.ErrHelp
		case !known:
			return nil, flags.Explain(c, fmt.Errorf("flag provided but not defined: -%s", name), true)
		case isSwitch && !hasValue:
			value = "true"
		case !hasValue && len(rest) == 0:
			return nil, flags.Usagef(c, "--%s: its value is missing: write --%s=VALUE", name, name)
		case !hasValue:
			value, rest = rest[0], rest[1:]
		}
		if err := c.Set(name, value); err != nil {
			return nil, flags.Explain(c, fmt.Errorf("invalid value %q for flag -%s: %w", value, name, err), true)
		}
	}
	return words, nil
}

func flagNamed(command *cli.Command, name string) (known, isSwitch bool) {
	for _, f := range command.Flags {
		if f.Names()[0] == name {
			_, isSwitch = f.(*cli.BoolFlag)
			return true, isSwitch
		}
	}
	return false, false
}

// subnetWords reads a subnet, or one of each family: as 10.5.7.0/24, or as keys have it,
// 10.5.7.0-24&fd00:5:0:7::-64. Host bits stay, for the error that names the border.
func subnetWords(words []string) (lease.Subnets, error) {
	var s lease.Subnets
	for _, word := range words {
		for part := range strings.FieldsFuncSeq(word, func(r rune) bool { return r == '&' || r == ',' }) {
			p, err := subnetWord(part)
			if err != nil {
				return lease.Subnets{}, err
			}
			into := &s.V6
			if p.Addr().Is4() {
				into = &s.V4
			}
			if into.IsValid() {
				return lease.Subnets{}, fmt.Errorf("%s and %s are of one family: give one subnet, or one of each family", *into, p)
			}
			*into = p
		}
	}
	if s == (lease.Subnets{}) {
		return s, errors.New("the subnet is missing: write it as 10.5.7.0/24")
	}
	return s, nil
}

func subnetWord(text string) (netip.Prefix, error) {
	spelled := text
	if i := strings.LastIndexByte(text, '-'); i >= 0 && !strings.Contains(text, "/") {
		spelled = text[:i] + "/" + text[i+1:]
	}
	p, err := netip.ParsePrefix(spelled)
	if err != nil || p.Addr().Is4In6() {
		return netip.Prefix{}, fmt.Errorf("%q is no subnet: write it as 10.5.7.0/24", text)
	}
	return p, nil
}
