package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/urfave/cli/v2"

	"weft/cmd/internal/agent"
	"weft/cmd/internal/flags"
	"weft/lease/embedded"
	"weft/lease/embedded/backup"
)

func snapshotCommand() *cli.Command {
	return &cli.Command{
		Name:  "snapshot",
		Usage: "save what is in etcd to a file, and make a member from such a file",
		Subcommands: []*cli.Command{
			snapshotSaveCommand(),
			snapshotRestoreCommand(),
			snapshotStatusCommand(),
		},
	}
}

func snapshotSaveCommand() *cli.Command {
	store := agent.Defaults().Store
	force := false
	return &cli.Command{
		Name:      "save",
		Usage:     "save the contents of a running etcd, all keys and leases of it",
		ArgsUsage: "FILE",
		Description: environmentHelp("Asks the first of --etcd-endpoints that answers. The file appears whole, its hash checked, or not at all;\n" +
			"etcdctl and etcdutl read it as well."),
		Flags: concat(etcdFlags(&store), flags.Group("file",
			flags.Switch(&force, "force", "replace the file if it is there already"))),
		Action: func(c *cli.Context) error {
			file, err := fileArgument(c)
			if err != nil {
				return err
			}
			given, err := flags.Environment(c, os.Getenv)
			if err != nil {
				return err
			}
			if problems := store.Check(given); len(problems) > 0 {
				return allProblems(c, problems)
			}
			from, err := backup.Save(c.Context, backup.Source{Endpoints: store.Endpoints, CertFile: store.CertFile, KeyFile: store.KeyFile,
				CAFile: store.CAFile, Username: store.Username, Password: store.Password}, file, force)
			if errors.Is(err, backup.ErrExists) {
				return fmt.Errorf("%w: choose another name, or replace it with --force", err)
			}
			if err != nil {
				return err
			}
			return showSnapshot(c, fmt.Sprintf("saved from %s", from), file)
		},
	}
}

func snapshotRestoreCommand() *cli.Command {
	o := embedded.Options{}
	bump, skip := backup.DefaultRevisionBump, false
	return &cli.Command{
		Name:      "restore",
		Usage:     "make the data directory of a new member from a saved file",
		ArgsUsage: "FILE",
		Description: "For a cluster of several, restore the same file on each of its machines with the same --initial-cluster, and\n" +
			"start them all with it. Nothing may run on the directory; docs/etcd.md has the steps.",
		Flags: concat(flags.Group("member",
			flags.Path(&o.DataDir, "data-dir", "data directory to make; must be missing or empty"),
			flags.Text(&o.Name, "name", "name of this member (default: default)"),
			flags.URLs(&o.AdvertisePeerURLs, "initial-advertise-peer-urls", "URLs that members are told (default: http://127.0.0.1:2380)"),
			flags.Text(&o.InitialCluster, "initial-cluster", "all members of the new cluster: NAME=URL,NAME=URL,… (default: this one alone)"),
			flags.Text(&o.ClusterToken, "initial-cluster-token", "what tells this cluster from others (default: etcd-cluster)"),
			flags.Number(&bump, flags.Range{Min: 0, Max: 1 << 40}, "bump-revision", "added to the revision, so that agents that watched the lost etcd list again; 0: for a copy that nobody watched"),
			flags.Switch(&skip, "skip-hash-check", "take a file without a hash: member/snap/db of a member that has stopped"),
		)),
		Action: func(c *cli.Context) error {
			file, err := fileArgument(c)
			if err != nil {
				return err
			}
			if o.DataDir == "" {
				return flags.Usagef(c, "--data-dir is missing: name the directory to make, such as /var/lib/weft/etcd")
			}
			if err := checkTarget(o); err != nil {
				return flags.Usagef(c, "%s", err)
			}
			err = backup.Restore(file, backup.Target{DataDir: o.DataDir, Name: o.Name, InitialCluster: o.InitialCluster,
				PeerURLs: o.AdvertisePeerURLs, ClusterToken: o.ClusterToken, RevisionBump: uint64(bump), SkipHashCheck: skip})
			if err != nil {
				return err
			}
			if skip {
				_, err = fmt.Fprintf(c.App.Writer, "restored to %s from %s, without a hash\n", o.DataDir, file)
				return err
			}
			return showSnapshot(c, "restored to "+o.DataDir+" from", file)
		},
	}
}

// checkTarget finds what would keep the restored member from starting.
func checkTarget(o embedded.Options) error {
	if o.InitialCluster == "" {
		return nil
	}
	if len(o.AdvertisePeerURLs) == 0 {
		return errors.New("--initial-cluster needs --initial-advertise-peer-urls beside it: the URLs that it names for this member")
	}
	return embedded.CheckCluster(o.Name, o.AdvertisePeerURLs, o.InitialCluster)
}

func snapshotStatusCommand() *cli.Command {
	asJSON := false
	return &cli.Command{
		Name:        "status",
		Usage:       "check a saved file and say what it holds",
		ArgsUsage:   "FILE",
		Description: "Checks the file's hash and its pages. Exits 1 if it isn't as it was saved.",
		Flags:       []cli.Flag{flags.Switch(&asJSON, "json", "print JSON")},
		Action: func(c *cli.Context) error {
			file, err := fileArgument(c)
			if err != nil {
				return err
			}
			if !asJSON {
				return showSnapshot(c, "whole:", file)
			}
			s, err := backup.Read(file)
			if err != nil {
				return err
			}
			return json.NewEncoder(c.App.Writer).Encode(s)
		},
	}
}

// showSnapshot says in one line what the file holds.
func showSnapshot(c *cli.Context, what, file string) error {
	s, err := backup.Read(file)
	if err != nil {
		return err
	}
	version := s.Version
	if version == "" {
		version = "before 3.6"
	}
	_, err = fmt.Fprintf(c.App.Writer, "%s %s: revision %d, %d keys, %d bytes, etcd %s, hash %08x\n",
		what, file, s.Revision, s.Keys, s.Size, version, s.Hash)
	return err
}

// fileArgument returns the one argument. etcd's own tools take flags behind it as well as before, and
// package flag stops reading at the first argument: the rest is read here.
func fileArgument(c *cli.Context) (string, error) {
	var files []string
	for rest := c.Args().Slice(); len(rest) > 0; {
		arg := rest[0]
		rest = rest[1:]
		if !strings.HasPrefix(arg, "-") || arg == "-" {
			files = append(files, arg)
			continue
		}
		name, value, hasValue := strings.Cut(strings.TrimLeft(arg, "-"), "=")
		if !known(c, name) {
			return "", flags.Explain(c, fmt.Errorf("flag provided but not defined: -%s", name), true)
		}
		if !hasValue && isSwitch(c, name) {
			value = "true"
		} else if !hasValue {
			if len(rest) == 0 {
				return "", flags.Usagef(c, "--%s: its value is missing: write --%s=VALUE", name, name)
			}
			value, rest = rest[0], rest[1:]
		}
		if err := c.Set(name, value); err != nil {
			return "", flags.Usagef(c, "--%s=%q: %s", name, value, err)
		}
	}
	switch {
	case len(files) == 0:
		return "", flags.Usagef(c, "the FILE is missing: name the snapshot")
	case len(files) > 1:
		return "", flags.Usagef(c, "stray argument %q: name one FILE", files[1])
	}
	return files[0], nil
}

func known(c *cli.Context, name string) bool {
	for _, f := range c.Command.Flags {
		if f.Names()[0] == name {
			return true
		}
	}
	return false
}

func isSwitch(c *cli.Context, name string) bool {
	for _, f := range c.Command.Flags {
		if _, ok := f.(*cli.BoolFlag); ok && f.Names()[0] == name {
			return true
		}
	}
	return false
}
