// Command weft is a layer-3 network fabric for containers: one binary for the agent on every host,
// the etcd it can bring along, and everything that a person asks of them.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"weft/cmd/internal/flags"
)

// What `weft version` says; set with -ldflags by the Makefile, since builds here embed no VCS facts.
var (
	version = "0.1.0-dev"
	commit  = ""
)

// Exit statuses of every subcommand.
const (
	exitOK      = 0
	exitFailure = 1 // it was tried and didn't work
	exitUsage   = 2 // the command line can't be carried out as it stands
)

func main() {
	os.Exit(run(os.Args, os.Stdout, os.Stderr))
}

// run carries out one command line and returns the exit status. SIGINT and SIGTERM end the context
// that every subcommand runs under; a second signal kills, as it would without weft's doing.
func run(args []string, stdout, stderr io.Writer) int {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop)

	err := newApp(stdout, stderr).RunContext(ctx, args)
	if err == nil {
		return exitOK
	}
	if text := err.Error(); text != "" {
		fmt.Fprintln(stderr, text)
	}
	if _, ok := errors.AsType[*flags.UsageError](err); ok {
		return exitUsage
	}
	return exitFailure
}
