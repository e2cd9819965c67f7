package flags

import (
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/urfave/cli/v2"
)

// Text is a flag that takes any text. The variable's present content is the default, as for all
// kinds below.
func Text(into *string, name, usage string) cli.Flag {
	v := &value[string]{into: into, parse: keep, format: verbatim}
	return v.flag(name, usage)
}

// Secret is Text whose default is never shown.
func Secret(into *string, name, usage string) cli.Flag {
	v := &value[string]{into: into, parse: keep, format: func(string) string { return "" }}
	return v.flag(name, usage)
}

// Path is a flag that takes the name of a file, folder or socket; never empty.
func Path(into *string, name, usage string) cli.Flag {
	parse := func(text string) (string, error) {
		if strings.TrimSpace(text) == "" {
			return "", errors.New("want a path")
		}
		return filepath.Clean(text), nil
	}
	v := &value[string]{into: into, parse: parse, format: verbatim}
	return v.flag(name, usage)
}

// OneOf is a flag that takes one of a few words.
func OneOf(into *string, choices []string, name, usage string) cli.Flag {
	parse := func(text string) (string, error) {
		if !slices.Contains(choices, text) {
			return "", fmt.Errorf("want one of %s", strings.Join(choices, ", "))
		}
		return text, nil
	}
	v := &value[string]{into: into, parse: parse, format: verbatim}
	return v.flag(name, usage)
}

// A Range is the numbers that a flag takes, both ends included.
type Range struct{ Min, Max int }

// Number is a flag that takes a decimal number inside r.
func Number(into *int, r Range, name, usage string) cli.Flag {
	parse := func(text string) (int, error) {
		n, err := strconv.Atoi(text)
		if err != nil || n < r.Min || n > r.Max {
			return 0, fmt.Errorf("want a number from %d to %d", r.Min, r.Max)
		}
		return n, nil
	}
	v := &value[int]{into: into, parse: parse, format: strconv.Itoa}
	return v.flag(name, usage)
}

// Minutes is a flag that takes a whole number of minutes inside r, as flannel writes durations.
func Minutes(into *time.Duration, r Range, name, usage string) cli.Flag {
	parse := func(text string) (time.Duration, error) {
		n, err := strconv.Atoi(text)
		if err != nil || n < r.Min || n > r.Max {
			return 0, fmt.Errorf("want minutes, a number from %d to %d", r.Min, r.Max)
		}
		return time.Duration(n) * time.Minute, nil
	}
	format := func(d time.Duration) string { return strconv.Itoa(int(d / time.Minute)) }
	v := &value[time.Duration]{into: into, parse: parse, format: format}
	return v.flag(name, usage)
}

// Address is a flag that takes one IP address of the family: 4, 6, or 0 for either.
func Address(into *netip.Addr, family int, name, usage string) cli.Flag {
	want := map[int]string{0: "an IP address", 4: "an IPv4 address", 6: "an IPv6 address"}[family]
	parse := func(text string) (netip.Addr, error) {
		a, err := netip.ParseAddr(text)
		a = a.Unmap()
		if err != nil || family == 4 && !a.Is4() || family == 6 && !a.Is6() {
			return netip.Addr{}, fmt.Errorf("want %s", want)
		}
		return a, nil
	}
	format := func(a netip.Addr) string {
		if !a.IsValid() {
			return ""
		}
		return a.String()
	}
	v := &value[netip.Addr]{into: into, parse: parse, format: format}
	return v.flag(name, usage)
}

// URLs is a flag that takes http or https URLs, with commas between them. A second use of the flag
// replaces the first, as flannel has it.
func URLs(into *[]string, name, usage string) cli.Flag {
	parse := func(text string) ([]string, error) {
		var urls []string
		for one := range strings.SplitSeq(text, ",") {
			u, err := url.Parse(strings.TrimSpace(one))
			if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
				return nil, fmt.Errorf("%q is no URL: want http://HOST:PORT or https://HOST:PORT, with commas between several", one)
			}
			urls = append(urls, u.Scheme+"://"+u.Host)
		}
		return urls, nil
	}
	v := &value[[]string]{into: into, parse: parse, format: commas}
	return v.flag(name, usage)
}

// Repeated is a flag that may be given several times; each use adds one text, commas and all.
func Repeated(into *[]string, name, usage string) cli.Flag {
	return repeated(into, func(string) error { return nil }, name, usage)
}

// Patterns is Repeated for regular expressions (Go's syntax, RE2).
func Patterns(into *[]string, name, usage string) cli.Flag {
	check := func(text string) error {
		if _, err := regexp.Compile(text); err != nil {
			return fmt.Errorf("want a regular expression: %w", err)
		}
		return nil
	}
	return repeated(into, check, name, usage)
}

// repeated appends every text that check accepts.
func repeated(into *[]string, check func(string) error, name, usage string) cli.Flag {
	parse := func(text string) ([]string, error) {
		if text == "" {
			return nil, errors.New("want a value that isn't empty")
		}
		if err := check(text); err != nil {
			return nil, err
		}
		return append(*into, text), nil
	}
	v := &value[[]string]{into: into, parse: parse, format: commas}
	return v.flag(name, usage+" (may be given several times)")
}

// Of is a flag for a type that reads itself; what its Set refuses, it must say what it wants instead.
func Of(into cli.Generic, name, usage string) cli.Flag {
	return &cli.GenericFlag{Name: name, Usage: usage, Value: into}
}

// Switch is a flag that is on or off; alone it means on.
func Switch(into *bool, name, usage string) cli.Flag {
	return &cli.BoolFlag{Name: name, Usage: usage, Destination: into, Value: *into}
}

func keep(text string) (string, error) { return text, nil }
func verbatim(text string) string      { return text }
func commas(texts []string) string     { return strings.Join(texts, ",") }
