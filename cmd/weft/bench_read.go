package main

import (
	"fmt"
	"io"
	"os"

	"github.com/urfave/cli/v2"

	"weft/cmd/internal/flags"
	"weft/perf/report"
)

// readRun reads a file that `weft bench --json` wrote.
func readRun(name string) (*report.Run, error) {
	file, err := os.Open(name)
	if err != nil {
		return nil, fmt.Errorf("reading a run: %w", err)
	}
	defer file.Close()
	r, err := report.Read(file)
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", name, err)
	}
	return r, nil
}

// compareRuns prints what changed between two runs.
func compareRuns(c *cli.Context) error {
	if c.NArg() != 2 {
		return flags.Usagef(c, "--compare: name two runs that --json wrote: weft bench --compare a.json b.json")
	}
	before, err := readRun(c.Args().Get(0))
	if err != nil {
		return err
	}
	after, err := readRun(c.Args().Get(1))
	if err != nil {
		return err
	}
	return report.WriteComparison(c.App.Writer, before, after)
}

// insertFigures rewrites what stands between the markers of a document.
func insertFigures(out io.Writer, run, document string) error {
	r, err := readRun(run)
	if err != nil {
		return err
	}
	text, err := os.ReadFile(document)
	if err != nil {
		return fmt.Errorf("reading the document: %w", err)
	}
	text, err = report.Insert(text, report.Markdown(r))
	if err != nil {
		return fmt.Errorf("%s: %w", document, err)
	}
	err = writeFile(document, func(w io.Writer) error {
		_, err := w.Write(text)
		return err
	})
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(out, "%s holds the figures of %s\n", document, run)
	return err
}
